//! Mercurio's gRPC contract, generated from `proto/mercurio/v1/*.proto`.

/// Package `mercurio.v1`: messages, clients and server traits.
pub mod v1 {
    #![allow(missing_docs, clippy::all, reason = "generated code")]
    tonic::include_proto!("mercurio.v1");
}

/// The metadata key under which a gateway says whose publish it passes on: the user's id. Taken from
/// whoever may act for anyone; that user's rate is used up, and not the gateway's own.
pub const PUBLISHER_METADATA: &str = "mercurio-publisher-bin";

/// The metadata key in a relay's head which says that all revocations in force come first. A core of before
/// there were any does not send it.
pub const REVOCATIONS_METADATA: &str = "mercurio-revocations";

/// The encoded `FileDescriptorSet` of the contract, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
