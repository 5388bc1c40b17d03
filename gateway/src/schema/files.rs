//! Schemas in files: a directory of `.proto` files, or a descriptor set.

use std::fs;
use std::path::{Path, PathBuf};

use causeway_protocols::transcode::{self, Schema, SchemaError};

/// Files of one directory, and bytes of all of them.
const MAX_FILES: usize = 2_000;
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Directories in directories.
const MAX_DEPTH: usize = 16;

/// Why files gave no schema.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file could not be read.
    #[error("schema `{path}`: {source}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// There is nothing in the directory.
    #[error("schema `{0}`: holds no .proto file")]
    Empty(String),
    /// There is too much.
    #[error("schema `{0}`: more than 2000 files or 64 MiB")]
    TooMuch(String),
    /// The files do not describe a schema.
    #[error("schema `{path}`: {source}")]
    Schema {
        /// The directory or file.
        path: String,
        /// What is wrong.
        source: SchemaError,
    },
}

/// Compiles every `.proto` file below a directory; imports are relative to it.
pub(super) fn directory(root: &Path) -> Result<Schema, FileError> {
    let mut found = Vec::new();
    let mut bytes = 0;
    collect(root, root, 0, &mut found, &mut bytes)?;
    if found.is_empty() {
        return Err(FileError::Empty(root.display().to_string()));
    }
    // The order of a directory is anybody's; what is wrong should be told the same way each time.
    found.sort();
    let wrong = |source| FileError::Schema {
        path: root.display().to_string(),
        source,
    };
    let set = transcode::compile(&found).map_err(wrong)?;
    Schema::from_descriptor_set(&set).map_err(wrong)
}

/// Reads an encoded `google.protobuf.FileDescriptorSet` (`protoc --descriptor_set_out --include_imports`, `buf build`).
pub(super) fn descriptor_set(path: &Path) -> Result<Schema, FileError> {
    let size = fs::metadata(path).map_err(|source| unread(path, source))?.len();
    if size > MAX_BYTES {
        return Err(FileError::TooMuch(path.display().to_string()));
    }
    let set = fs::read(path).map_err(|source| unread(path, source))?;
    Schema::from_descriptor_set(&set).map_err(|source| FileError::Schema {
        path: path.display().to_string(),
        source,
    })
}

fn unread(path: &Path, source: std::io::Error) -> FileError {
    FileError::Read {
        path: path.display().to_string(),
        source,
    }
}

fn collect(
    root: &Path,
    directory: &Path,
    depth: usize,
    found: &mut Vec<(String, String)>,
    bytes: &mut u64,
) -> Result<(), FileError> {
    let too_much = || FileError::TooMuch(root.display().to_string());
    if depth > MAX_DEPTH {
        return Err(too_much());
    }
    let entries = fs::read_dir(directory).map_err(|source| unread(directory, source))?;
    for entry in entries {
        let path: PathBuf = entry.map_err(|source| unread(directory, source))?.path();
        // Links are followed: that is how Kubernetes mounts files.
        let kind = fs::metadata(&path).map_err(|source| unread(&path, source))?;
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if kind.is_dir() && !hidden {
            collect(root, &path, depth + 1, found, bytes)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "proto") {
            *bytes += kind.len();
            if found.len() >= MAX_FILES || *bytes > MAX_BYTES {
                return Err(too_much());
            }
            let text = fs::read_to_string(&path).map_err(|source| unread(&path, source))?;
            let name = path.strip_prefix(root).unwrap_or(&path);
            found.push((name.to_string_lossy().into_owned(), text));
        }
    }
    Ok(())
}
