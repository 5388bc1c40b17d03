//! Compiles the `.proto` files, in Rust alone: no protoc is needed.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=../protocols/proto");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["proto", "../protocols/proto"])?;
    compiler.include_imports(true).open_file("demo.proto")?;
    // With the rules of `google.api.http`, which only the encoded form keeps.
    std::fs::write(out.join("demo.descriptors"), compiler.encode_file_descriptor_set())?;
    let mut demo = compiler.file_descriptor_set();
    // They need no code.
    demo.file.retain(|file| file.package() == "causeway.demo.v1");
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .bytes(".causeway.demo.v1")
        .compile_fds(demo)?;
    Ok(())
}
