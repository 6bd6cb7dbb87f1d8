//! Compiles the contract without protoc: protox parses the .proto files, tonic-prost-build
//! writes the Rust, and the descriptor set is kept for gRPC reflection.

use std::{env, error::Error, fs, path::PathBuf};

use protox::prost::Message as _;

const FILES: [&str; 4] = [
    "mercurio/v1/admin.proto",
    "mercurio/v1/notifications.proto",
    "mercurio/v1/relay.proto",
    "mercurio/v1/snapshot.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
