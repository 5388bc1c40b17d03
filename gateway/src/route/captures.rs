//! What the parameters of a path pattern stand for, as ranges of the path.

/// Captures that need no allocation.
pub(super) const INLINE: usize = 8;

/// Ranges of the path, in the order of the parameters in the pattern.
#[derive(Clone, Debug, Default)]
pub struct Captures {
    inline: [(u32, u32); INLINE],
    count: usize,
    /// All of them, once there are more than fit.
    heap: Vec<(u32, u32)>,
}

impl Captures {
    /// Adds a range of bytes.
    pub(super) fn push(&mut self, start: usize, end: usize) {
        // A target is some KiB at most; one beyond u32 captures nothing.
        let range = match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) => (start, end),
            _ => (0, 0),
        };
        if let Some(slot) = self.inline.get_mut(self.count) {
            *slot = range;
            self.count += 1;
            return;
        }
        if self.heap.is_empty() {
            self.heap.extend_from_slice(&self.inline);
        }
        self.heap.push(range);
    }

    fn ranges(&self) -> &[(u32, u32)] {
        if self.heap.is_empty() {
            self.inline.get(..self.count).unwrap_or_default()
        } else {
            &self.heap
        }
    }

    /// Number of captures.
    pub fn len(&self) -> usize {
        self.ranges().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The text of a capture in the path that was matched; none where there is no such capture.
    pub fn get<'p>(&self, index: usize, path: &'p str) -> Option<&'p str> {
        let &(start, end) = self.ranges().get(index)?;
        path.get(start as usize..end as usize)
    }
}
