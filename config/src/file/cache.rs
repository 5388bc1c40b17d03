//! `[cache]`: the memory that the replies of all routes share.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::CacheMemory;
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::SizeText;

/// `[cache]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CacheMemoryFile {
    /// Bytes that kept replies may take in this gateway.
    memory: Option<SizeText>,
    /// Largest body that is kept.
    max_entry: Option<SizeText>,
}

impl CacheMemoryFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<CacheMemory> {
        let mut size = |value: Option<SizeText>, key: &str, least: u64| {
            value.and_then(|value| value.parse(&at.key(key), &(least..=1 << 40), problems))
        };
        let memory = size(self.memory, "memory", 1 << 20);
        let max_entry = size(self.max_entry, "max_entry", 1);
        if let (Some(memory), Some(max_entry)) = (memory, max_entry)
            && max_entry > memory / 4
        {
            problems.add_hint(
                &at.key("max_entry"),
                "is more than a quarter of `cache.memory`",
                "one reply must not push out most of the others",
            );
        }
        Some(CacheMemory {
            memory: memory?,
            max_entry: max_entry?,
        })
    }
}
