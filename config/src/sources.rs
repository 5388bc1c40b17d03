//! Which files a configuration is made of, and their text.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::path::KeyPath;
use crate::problems::{Place, Problems};

/// Bytes of one file: a generated file that outgrew its purpose must not take the gateway with it.
pub(crate) const FILE: u64 = 4 << 20;
/// Bytes of all files together.
const TOTAL: u64 = 32 << 20;
/// Number of files.
const FILES: usize = 1024;

/// One file's text.
#[derive(Debug)]
pub(crate) struct Source {
    /// As it was named.
    pub(crate) file: PathBuf,
    /// What relative paths in it are relative to.
    pub(crate) folder: PathBuf,
    /// Its text.
    pub(crate) text: String,
}

/// Reads `named` files in order, each directory and pattern in the order of names; `conf.d/*.toml` and
/// `peers.d/*.toml` beside the first file come right after it.
pub(crate) fn read(named: &[PathBuf], problems: &mut Problems) -> Vec<Source> {
    let mut files = Vec::new();
    for (position, path) in named.iter().enumerate() {
        files.extend(expand(path, problems));
        if position == 0 {
            let beside = if path.is_dir() {
                path.as_path()
            } else {
                path.parent().unwrap_or_else(|| Path::new(""))
            };
            for folder in ["conf.d", "peers.d"] {
                let folder = beside.join(folder);
                if folder.is_dir() {
                    files.extend(list(&folder, "*.toml", problems));
                }
            }
        }
    }
    let mut seen = HashSet::new();
    files.retain(|file| seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone())));
    if files.len() > FILES {
        let message = format!("{} files were named, at most {FILES} are read", files.len());
        problems.add_place(Place::Nowhere, &KeyPath::root(), message, None);
        files.truncate(FILES);
    }
    let mut left = TOTAL;
    let mut sources = Vec::new();
    for (order, file) in files.into_iter().enumerate() {
        match text(&file, left) {
            Ok(text) => {
                left = left.saturating_sub(text.len() as u64);
                let folder = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
                sources.push(Source { file, folder, text });
            }
            Err(unread) => {
                let place = match unread.position {
                    Some((line, column)) => Place::File {
                        order,
                        file,
                        line,
                        column,
                    },
                    None => Place::file(order, &file),
                };
                problems.add_place(place, &KeyPath::root(), unread.message, unread.hint);
                // The rank of the files after this one must not change.
                sources.push(Source {
                    file: PathBuf::new(),
                    folder: PathBuf::new(),
                    text: String::new(),
                });
            }
        }
    }
    sources
}

/// The files that `path` stands for: itself, a directory's `*.toml`, or those a pattern such as `conf/*.toml` names.
fn expand(path: &Path, problems: &mut Problems) -> Vec<PathBuf> {
    if path.is_dir() {
        return list(path, "*.toml", problems);
    }
    match path.file_name().and_then(|name| name.to_str()) {
        Some(pattern) if pattern.contains('*') && !path.exists() => {
            let folder = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or_else(|| Path::new("."));
            list(folder, pattern, problems)
        }
        _ => vec![path.to_owned()],
    }
}

/// The files of `folder` whose names match `pattern`, by name.
fn list(folder: &Path, pattern: &str, problems: &mut Problems) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let message = format!("reading the directory: {error}");
            problems.add_place(Place::file(0, folder), &KeyPath::root(), message, None);
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        // Editors and `..data` links of mounted volumes leave names that start with a dot.
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| !name.starts_with('.') && matches(pattern, name))
        })
        .map(|entry| entry.path())
        .filter(|path| !path.is_dir())
        .take(FILES + 1)
        .collect();
    files.sort();
    files
}

/// Whether `name` fits `pattern`, where `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    true
}

/// Why a file has no text.
struct Unread {
    message: String,
    hint: Option<String>,
    position: Option<(usize, usize)>,
}

impl Unread {
    fn new(message: String) -> Self {
        Self {
            message,
            hint: None,
            position: None,
        }
    }
}

fn text(file: &Path, left: u64) -> Result<String, Unread> {
    let meta = std::fs::metadata(file).map_err(|error| Unread {
        hint: (error.kind() == std::io::ErrorKind::NotFound).then(|| "check the path given with `--config`".to_owned()),
        ..Unread::new(format!("reading the file: {error}"))
    })?;
    // A pipe would be waited for without end.
    if !meta.is_file() {
        return Err(Unread::new("is not a regular file".to_owned()));
    }
    let bytes = bytes(file, FILE).map_err(|error| Unread::new(format!("reading the file: {error}")))?;
    let Some(bytes) = bytes else {
        let message = format!("is larger than {}", crate::units::shown_size(FILE));
        return Err(Unread {
            hint: Some("split it into files under `conf.d`".to_owned()),
            ..Unread::new(message)
        });
    };
    if bytes.len() as u64 > left {
        let message = format!("the files are larger than {} together", crate::units::shown_size(TOTAL));
        return Err(Unread::new(message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let last = good.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let column = String::from_utf8_lossy(last).chars().count() + 1;
        Unread {
            position: Some((line, column)),
            ..Unread::new("is not UTF-8 text".to_owned())
        }
    })
}

/// The bytes of a file, or nothing when there are more than `most`.
pub(crate) fn bytes(file: &Path, most: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let table = [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml~", false),
            ("a.toml", "a.toml", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("a.toml", "a.toml2", false),
        ];
        for (pattern, name, fits) in table {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
