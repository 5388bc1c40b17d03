//! Following a few field paths into a message while it is read or written.

use super::types::FieldId;

/// How many paths can be followed at once.
pub(super) const PATHS: usize = 64;

/// Which of the paths lead through the message at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Active {
    /// A bit for each of them.
    which: u64,
    /// How many steps of them were taken.
    level: usize,
}

/// What one step into a field finds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The path that ends at the field.
    pub(super) end: Option<usize>,
    /// The paths that go on inside of it.
    pub(super) inside: Active,
}

impl Active {
    pub(super) const NOTHING: Self = Self { which: 0, level: 0 };

    /// All of `count` paths, at their start.
    pub(super) fn all(count: usize) -> Self {
        let which = if count >= PATHS { u64::MAX } else { (1 << count) - 1 };
        Self { which, level: 0 }
    }

    pub(super) fn is_nothing(self) -> bool {
        self.which == 0
    }

    /// Steps into a field.
    pub(super) fn step<'p>(self, paths: impl Iterator<Item = &'p [FieldId]>, field: FieldId) -> Step {
        let mut step = Step {
            end: None,
            inside: Self {
                which: 0,
                level: self.level + 1,
            },
        };
        for (path, at) in self.next_fields(paths) {
            match path {
                [next] if *next == field => step.end = Some(at),
                [next, ..] if *next == field => step.inside.which |= 1 << at,
                _ => {}
            }
        }
        step
    }

    /// What is left of each path that leads through here, with its index.
    pub(super) fn next_fields<'p>(
        self,
        paths: impl Iterator<Item = &'p [FieldId]>,
    ) -> impl Iterator<Item = (&'p [FieldId], usize)> {
        paths
            .zip(0..PATHS)
            .filter(move |(_, at)| self.which & 1 << at != 0)
            .map(move |(path, at)| (path.get(self.level..).unwrap_or_default(), at))
    }
}
