//! Files of the tool: whole or not at all, private keys for their owner only, and nothing ever overwritten.
//!
//! A file is written under a hidden name beside its place, flushed to the disk, and then given its name in one step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::issue::random;

#[cfg(test)]
mod tests;

/// Who may read a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Secrecy {
    /// Its owner alone: mode 0600.
    Private,
    /// Everybody: mode 0644.
    Public,
}

/// Why a file of the tool could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Something is there already.
    #[error("`{}` exists already and nothing is overwritten", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{action} `{}`: {source}", path.display())]
    Io {
        /// `reading`, `writing` or `creating`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    /// How to mend it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "choose another place, or move it away if it is no longer needed",
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => "check the path",
            Self::Io { .. } => "check that this user may use it and that the disk is not full",
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.into(),
            source,
        }
    }
}

/// Makes a directory that only its owner may enter, and those above it. One that is there already stays as it is.
///
/// # Errors
/// When the system refuses.
pub fn make_directory(path: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(StoreError::io("creating", path))
}

/// Refuses a place where something is already, so that work of several files can be refused before its first one.
///
/// # Errors
/// [`StoreError::Exists`].
pub fn check_free(path: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(StoreError::Exists { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("reading", path)(error)),
    }
}

/// Writes a new file.
///
/// # Errors
/// [`StoreError::Exists`] when the name is taken, by whatever.
pub fn create(path: &Path, content: &[u8], secrecy: Secrecy) -> Result<(), StoreError> {
    check_free(path)?;
    let written = Written::new(path, content, secrecy)?;
    // A link fails where the name is taken, even when it was taken a moment ago. Some file systems have none.
    match fs::hard_link(&written.temporary, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(StoreError::Exists { path: path.into() });
        }
        Err(_) => written.rename(path)?,
    }
    sync_directory(path);
    Ok(())
}

/// Replaces a file in one step; what was there stays beside it under `<name>.<tag>`.
///
/// # Errors
/// When the system refuses; the old file is then still in its place.
pub fn replace_and_keep(path: &Path, tag: &str, content: &[u8], secrecy: Secrecy) -> Result<(), StoreError> {
    let mut kept = path.as_os_str().to_owned();
    kept.push(format!(".{tag}"));
    let kept = PathBuf::from(kept);
    check_free(&kept)?;
    fs::hard_link(path, &kept)
        .or_else(|_| fs::copy(path, &kept).map(|_| ()))
        .map_err(StoreError::io("writing", &kept))?;
    replace(path, content, secrecy)
}

/// Replaces a file of the tool's own state in one step. Only for what can be made again, such as a revocation list.
///
/// # Errors
/// When the system refuses; the old file is then still in its place.
pub(crate) fn replace(path: &Path, content: &[u8], secrecy: Secrecy) -> Result<(), StoreError> {
    Written::new(path, content, secrecy)?.rename(path)?;
    sync_directory(path);
    Ok(())
}

/// Reads a file of at most 16 MiB.
///
/// # Errors
/// When the system refuses, or the file is larger.
pub fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    const LIMIT: u64 = 16 * 1024 * 1024;
    let failed = |error| StoreError::io("reading", path)(error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    io::Read::read_to_end(&mut io::Read::take(file, LIMIT + 1), &mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LIMIT {
        return Err(failed(io::Error::other(format!("larger than {LIMIT} bytes"))));
    }
    Ok(bytes)
}

/// A complete file under its hidden name; gone when dropped.
struct Written {
    temporary: PathBuf,
}

impl Written {
    fn new(path: &Path, content: &[u8], secrecy: Secrecy) -> Result<Self, StoreError> {
        let failed = |error| StoreError::io("writing", path)(error);
        let mut suffix = [0; 8];
        random(&mut suffix).map_err(|error| failed(io::Error::other(error)))?;
        let name = path
            .file_name()
            .ok_or_else(|| failed(io::Error::other("not the name of a file")))?;
        let name = format!(
            ".{}.{}",
            name.to_string_lossy(),
            data_encoding::HEXLOWER.encode(&suffix)
        );
        let written = Self {
            temporary: path.with_file_name(name),
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(
            &mut options,
            match secrecy {
                Secrecy::Private => 0o600,
                Secrecy::Public => 0o644,
            },
        );
        let mut file = options.open(&written.temporary).map_err(failed)?;
        file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(written)
    }

    fn rename(&self, path: &Path) -> Result<(), StoreError> {
        fs::rename(&self.temporary, path).map_err(StoreError::io("writing", path))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // It is gone already where it was renamed.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Makes a new name survive a loss of power, where the file system can.
pub(crate) fn sync_directory(path: &Path) {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    let _ = File::open(parent).and_then(|directory| directory.sync_all());
}
