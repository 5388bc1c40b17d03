//! What is wrong with a configuration: all of it at once, each at its place, with a hint where there is one.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::path::KeyPath;

/// Problems that are shown; more are counted only.
const SHOWN: usize = 100;

/// Where in the input a problem is. Files come before the environment, and that before arguments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere in particular, e.g. a table that nobody wrote.
    Nowhere,
    /// In a file.
    File {
        /// The file's rank among those read.
        order: usize,
        /// The file as it was named.
        file: PathBuf,
        /// Line, counted from 1; 0 when the whole file is meant.
        line: usize,
        /// Column in characters, counted from 1; 0 when the whole file is meant.
        column: usize,
    },
    /// In this environment variable.
    Environment(String),
    /// In an argument `--set KEY=VALUE`, named by its key.
    Argument(String),
}

impl Place {
    /// A whole file.
    pub(crate) fn file(order: usize, file: &Path) -> Self {
        Self::File {
            order,
            file: file.to_owned(),
            line: 0,
            column: 0,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => Ok(()),
            Self::File { file, line: 0, .. } => write!(f, "{}", file.display()),
            Self::File { file, line, column, .. } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Argument(key) => write!(f, "--set {key}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it was written.
    pub place: Place,
    /// The key concerned, e.g. `routes[3].retry.attempts`; empty when it is about a whole file.
    pub key: String,
    /// What is wrong, without a period.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place != Place::Nowhere {
            write!(f, "{}: ", self.place)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a configuration, sorted by file and position. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblems {
    problems: Vec<Problem>,
}

impl ConfigProblems {
    /// The problems, sorted by file and position.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(
            f,
            "configuration has {count} problem{}",
            if count == 1 { "" } else { "s" }
        )?;
        for problem in self.problems.iter().take(SHOWN) {
            write!(f, "\n  {problem}")?;
            if let Some(hint) = &problem.hint {
                write!(f, "\n    hint: {hint}")?;
            }
        }
        if count > SHOWN {
            write!(f, "\n  and {} more", count - SHOWN)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigProblems {}

/// Where each key was written. A key written twice has the place that won.
#[derive(Debug, Default)]
pub(crate) struct Places(HashMap<KeyPath, Place>);

impl Places {
    /// Remembers where `at` was written.
    pub(crate) fn insert(&mut self, at: KeyPath, place: Place) {
        self.0.insert(at, place);
    }

    /// Forgets what was below `at`, which has been replaced as a whole.
    pub(crate) fn replace(&mut self, at: KeyPath, place: Place) {
        self.0.retain(|known, _| !known.starts_with(&at));
        self.0.insert(at, place);
    }

    /// The place of `at`, or of the nearest table around it that somebody wrote.
    fn find(&self, at: &KeyPath) -> Place {
        let mut at = at.clone();
        loop {
            if let Some(place) = self.0.get(&at) {
                return place.clone();
            }
            match at.parent() {
                Some(parent) => at = parent,
                None => return Place::Nowhere,
            }
        }
    }
}

/// Problems being collected.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<(Option<Place>, KeyPath, String, Option<String>)>,
    /// Where something is wrong.
    broken: HashSet<KeyPath>,
    /// The same, and every table and list around.
    touched: HashSet<KeyPath>,
    unparsed: bool,
}

impl Problems {
    /// Something is wrong at `at`.
    pub(crate) fn add(&mut self, at: &KeyPath, message: impl Into<String>) {
        self.push(None, at, message.into(), None);
    }

    /// Something is wrong at `at`, and there is a way to mend it.
    pub(crate) fn add_hint(&mut self, at: &KeyPath, message: impl Into<String>, hint: impl Into<String>) {
        self.push(None, at, message.into(), Some(hint.into()));
    }

    /// Something is wrong at `at`, and perhaps there is a way to mend it.
    pub(crate) fn add_maybe(&mut self, at: &KeyPath, message: impl Into<String>, hint: Option<String>) {
        self.push(None, at, message.into(), hint);
    }

    /// Something is wrong at a place that may have no key.
    pub(crate) fn add_place(&mut self, place: Place, at: &KeyPath, message: impl Into<String>, hint: Option<String>) {
        self.push(Some(place), at, message.into(), hint);
    }

    /// A key that must be there is not; silent when it is there but was refused already.
    pub(crate) fn missing(&mut self, at: &KeyPath, hint: impl Into<String>) {
        let around = at.parent().is_some_and(|parent| self.broken.contains(&parent));
        if !around && !self.broken_below(at) {
            self.push(None, at, "is missing".to_owned(), Some(hint.into()));
        }
    }

    /// Whether anything has been found at `at` or below it.
    pub(crate) fn broken_below(&self, at: &KeyPath) -> bool {
        self.touched.contains(at)
    }

    /// Whether anything has been found at `at` itself.
    pub(crate) fn broken(&self, at: &KeyPath) -> bool {
        self.broken.contains(at)
    }

    /// How many there are by now.
    pub(crate) fn count(&self) -> usize {
        self.found.len()
    }

    /// Some text is not TOML, so that much may be missing.
    pub(crate) fn set_unparsed(&mut self) {
        self.unparsed = true;
    }

    /// Whether some text is not TOML.
    pub(crate) fn unparsed(&self) -> bool {
        self.unparsed
    }

    /// All of them with their places.
    pub(crate) fn into_problems(self, places: &Places) -> ConfigProblems {
        let found = self.found.into_iter().map(|(place, at, message, hint)| Problem {
            place: place.unwrap_or_else(|| places.find(&at)),
            key: at.to_string(),
            message,
            hint,
        });
        let mut problems: Vec<Problem> = found.collect();
        problems.sort();
        problems.dedup();
        if problems.is_empty() {
            // A parse that gives nothing says why; should one not, the configuration is refused all the same.
            let message = "cannot be used".to_owned();
            problems.push(Problem {
                place: Place::Nowhere,
                key: String::new(),
                message,
                hint: None,
            });
        }
        ConfigProblems { problems }
    }

    fn push(&mut self, place: Option<Place>, at: &KeyPath, message: String, hint: Option<String>) {
        // What is wrong with a whole file says nothing about its keys.
        if *at != KeyPath::root() {
            self.broken.insert(at.clone());
        }
        let mut around = Some(at.clone());
        while let Some(path) = around {
            around = path.parent();
            self.touched.insert(path);
        }
        self.found.push((place, at.clone(), message, hint));
    }
}

/// "did you mean `orders`?", when one of `known` is close enough to `written`.
pub(crate) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Long garbage would make this slow, and is near to nothing anyway.
    if written.len() > 100 {
        return None;
    }
    let allowed = (written.chars().count() / 3).clamp(1, 3);
    let near = |name: &&str| name.len().abs_diff(written.len()) <= 12;
    known
        .into_iter()
        .filter(near)
        // Thousands of names with a thousand mistakes would take minutes.
        .take(500)
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, name)| {
            *distance <= allowed || (written.len() >= 3 && name.starts_with(&format!("{written}_")))
        })
        .min()
        .map(|(_, name)| format!("did you mean `{name}`?"))
}
