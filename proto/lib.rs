//! Mercurio's gRPC contract, generated from `proto/mercurio/v1/*.proto`.

/// Package `mercurio.v1`: messages, clients and server traits.
pub mod v1 {
    #![allow(missing_docs, clippy::all, reason = "generated code")]
    tonic::include_proto!("mercurio.v1");
}

/// The encoded `FileDescriptorSet` of the contract, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
