//! Compiles the protos without `protoc`.

use std::path::{Path, PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rerun-if-changed=slipway");
    let files = [
        "slipway/common/v1/common.proto",
        "slipway/registry/v1/registry.proto",
        "slipway/evaluator/v1/evaluator.proto",
        "slipway/deployer/v1/deployer.proto",
        "slipway/detector/v1/detector.proto",
        "slipway/detector/v1/peer.proto",
        "slipway/event/v1/events.proto",
        "slipway/event/v1/event_service.proto",
    ];
    let descriptors = protox::compile(files, [root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure().compile_fds_with_config(descriptors, config)?;
    Ok(())
}
