//! Where a key is in the configuration: `routes[3].retry.attempts`.

use std::fmt;

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Step {
    /// Into an element of a list.
    Index(usize),
    /// Into a key of a table.
    Key(String),
}

/// A way from the root of the configuration to a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyPath(Vec<Step>);

impl KeyPath {
    /// The root.
    pub(crate) fn root() -> Self {
        Self::default()
    }

    /// The key `name` of the table that is here.
    pub(crate) fn key(&self, name: &str) -> Self {
        self.with(Step::Key(name.to_owned()))
    }

    /// The element `index` of the list that is here.
    pub(crate) fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// One step further.
    pub(crate) fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// What contains this key; none at the root.
    pub(crate) fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }

    /// The steps from the root.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The part up to the first list, and that list's index, if the path goes into one.
    pub(crate) fn outer_list(&self) -> Option<(Self, usize)> {
        let at = self.0.iter().position(|step| matches!(step, Step::Index(_)))?;
        match self.0.get(at) {
            Some(Step::Index(index)) => Some((Self(self.0.iter().take(at).cloned().collect()), *index)),
            _ => None,
        }
    }

    /// The same path with the index of its outermost list moved by `offset`.
    pub(crate) fn shifted(&self, offset: usize) -> Self {
        let mut steps = self.0.clone();
        if let Some(Step::Index(index)) = steps.iter_mut().find(|step| matches!(step, Step::Index(_))) {
            *index = index.saturating_add(offset);
        }
        Self(steps)
    }

    /// Whether this is `other` or below it.
    pub(crate) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl From<&[Step]> for KeyPath {
    fn from(steps: &[Step]) -> Self {
        Self(steps.to_vec())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(name) => {
                    if position > 0 {
                        f.write_str(".")?;
                    }
                    let bare =
                        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
                    if bare {
                        f.write_str(name)?
                    } else {
                        write!(f, "{name:?}")?
                    }
                }
            }
        }
        Ok(())
    }
}
