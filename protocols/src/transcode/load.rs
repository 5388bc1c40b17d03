//! From `.proto` texts, or a descriptor set of anybody, to a pool in which everything resolves.

use std::collections::{HashMap, HashSet};
use std::panic::catch_unwind;
use std::sync::LazyLock;

use prost::Message as _;
use prost_reflect::DescriptorPool;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use super::error::SchemaError;

/// Files that every schema may import, as name and text. Those of `google/protobuf/` are built in and not listed.
pub const WELL_KNOWN: &[(&str, &str)] = &[
    (
        "google/api/annotations.proto",
        include_str!("../../proto/google/api/annotations.proto"),
    ),
    (
        "google/api/http.proto",
        include_str!("../../proto/google/api/http.proto"),
    ),
    (
        "google/api/httpbody.proto",
        include_str!("../../proto/google/api/httpbody.proto"),
    ),
    (
        "google/rpc/code.proto",
        include_str!("../../proto/google/rpc/code.proto"),
    ),
    (
        "google/rpc/error_details.proto",
        include_str!("../../proto/google/rpc/error_details.proto"),
    ),
    (
        "google/rpc/status.proto",
        include_str!("../../proto/google/rpc/status.proto"),
    ),
];

/// What `google/protobuf/` has besides the descriptors themselves.
const BUILT_IN: &[&str] = &[
    "google/protobuf/any.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/empty.proto",
    "google/protobuf/field_mask.proto",
    "google/protobuf/struct.proto",
    "google/protobuf/timestamp.proto",
    "google/protobuf/wrappers.proto",
];

/// The encoded descriptor of every well-known file.
static KNOWN_FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut compiler = compiler(HashMap::new());
    for name in BUILT_IN.iter().chain(WELL_KNOWN.iter().map(|(name, _)| name)) {
        compiler
            .open_file(name)
            .expect("the well-known files are part of this crate and a test compiles them");
    }
    let set = compiler.encode_file_descriptor_set();
    FileSet::decode(&*set).expect("the compiler wrote it").file
});

/// Compiles `.proto` texts to an encoded `google.protobuf.FileDescriptorSet`, imports included.
///
/// `files` are name and text; a name is what another file's `import` says. Files of [`WELL_KNOWN`] and of
/// `google/protobuf/` may be imported without being listed.
///
/// # Errors
/// [`SchemaError::Compile`] with file, line and column; [`SchemaError::Editions`] for files that have an edition.
pub fn compile(files: &[(String, String)]) -> Result<Vec<u8>, SchemaError> {
    if let Some((file, _)) = files.iter().find(|(_, text)| has_edition(text)) {
        return Err(SchemaError::Editions { file: file.clone() });
    }
    let texts = files.iter().cloned().collect();
    let mut compiler = compiler(texts);
    for (name, _) in files {
        compiler
            .open_file(name)
            .map_err(|error| SchemaError::Compile(told(name, &error)))?;
    }
    Ok(compiler.encode_file_descriptor_set())
}

/// The mistake with file, line and column; some have only the file.
fn told(name: &str, error: &protox::Error) -> String {
    let file = error.file().unwrap_or(name);
    let text = format!("{error:?}");
    if text.starts_with(file) {
        text
    } else {
        format!("{file}: {text}")
    }
}

fn compiler(texts: HashMap<String, String>) -> protox::Compiler {
    let mut chain = ChainFileResolver::new();
    chain.add(Texts(texts));
    chain.add(Texts(
        WELL_KNOWN
            .iter()
            .map(|(name, text)| ((*name).into(), (*text).into()))
            .collect(),
    ));
    chain.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(chain);
    compiler.include_imports(true).include_source_info(false);
    compiler
}

struct Texts(HashMap<String, String>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// Whether the first statement of a `.proto` file is `edition = ..`.
fn has_edition(text: &str) -> bool {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    loop {
        rest = if let Some(line) = rest.strip_prefix("//") {
            line.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(block) = rest.strip_prefix("/*") {
            block.split_once("*/").map_or("", |(_, rest)| rest)
        } else {
            break;
        }
        .trim_start();
    }
    rest.strip_prefix("edition")
        .is_some_and(|rest| rest.trim_start().starts_with('='))
}

/// A descriptor set whose files stay as they were encoded: options that are extensions must survive.
#[derive(Clone, PartialEq, prost::Message)]
struct FileSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// `google.protobuf.Edition`: the first of them; lower numbers stand for proto2 and proto3.
const EDITION_2023: i32 = 1000;

/// What of a `FileDescriptorProto` says how files hang together.
#[derive(Clone, PartialEq, prost::Message)]
struct FileHead {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(string, repeated, tag = "3")]
    dependency: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    messages: Vec<TypeHead>,
    #[prost(message, repeated, tag = "5")]
    enums: Vec<TypeHead>,
    #[prost(message, repeated, tag = "7")]
    extensions: Vec<TypeHead>,
    #[prost(string, tag = "12")]
    syntax: String,
    #[prost(int32, tag = "14")]
    edition: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TypeHead {
    #[prost(string, tag = "1")]
    name: String,
}

impl FileHead {
    fn types(&self) -> impl Iterator<Item = String> {
        let of = |head: &TypeHead| format!("{}.{}", self.package, head.name);
        self.messages.iter().chain(&self.enums).chain(&self.extensions).map(of)
    }
}

/// The pool of a descriptor set, completed by the well-known files that it lacks.
pub(super) fn pool(bytes: &[u8]) -> Result<DescriptorPool, SchemaError> {
    let unreadable = |error| SchemaError::Compile(format!("reading the descriptor set: {error}"));
    let given = FileSet::decode(bytes).map_err(unreadable)?;
    let mut names = HashSet::new();
    let mut types = HashSet::new();
    let mut whole = FileSet::default();
    for file in given.file {
        let head = FileHead::decode(&*file).map_err(unreadable)?;
        if head.syntax == "editions" || head.edition >= EDITION_2023 {
            return Err(SchemaError::Editions { file: head.name });
        }
        types.extend(head.types());
        if names.insert(head.name) {
            whole.file.push(file);
        }
    }

    // A set may hold the same types under another file name; then that one counts. What depends on a file that is left
    // out is left out too; the well-known files are in the order of their imports.
    for file in KNOWN_FILES.iter() {
        let head = FileHead::decode(&**file).map_err(unreadable)?;
        let fits = head.dependency.iter().all(|name| names.contains(name));
        if fits && !names.contains(&head.name) && !head.types().any(|name| types.contains(&name)) {
            whole.file.push(file.clone());
            names.insert(head.name);
        }
    }
    let whole = whole.encode_to_vec();
    // prost-reflect panics while it describes some mistakes of the set's first file, and a set may come from a backend.
    match catch_unwind(|| DescriptorPool::decode(&*whole)) {
        Ok(pool) => pool.map_err(|error| SchemaError::Descriptor(Box::new(error))),
        Err(_) => {
            let text = "the descriptor set contradicts itself in a way that cannot be told";
            Err(SchemaError::Compile(text.to_owned()))
        }
    }
}
