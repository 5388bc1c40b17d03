//! Compiles the `.proto` files, in Rust alone: no protoc is needed.

use std::error::Error;
use std::path::PathBuf;

use protox::prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);

    let demo = protox::compile(["proto/demo.proto"], ["proto"])?;
    std::fs::write(out.join("demo.descriptors"), demo.encode_to_vec())?;
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .bytes(".causeway.demo.v1")
        .compile_fds(demo)?;
    Ok(())
}
