//! `[routes.message_limit]`: how much may pass while a call is open.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::file::value::{choice, optional};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::{Rate, RateText, SizeText};

/// An hour in milliseconds.
const LONGEST: u64 = 3_600_000;
/// The most messages that are counted to.
const MOST: u64 = 1_000_000_000;

/// `[routes.message_limit]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::file) struct MessageLimitFile {
    /// Messages of a gRPC stream or WebSocket, e.g. `50/1s`. Default: any number.
    messages: Option<RateText>,
    /// Bytes of any body, e.g. `1MiB/1s`. Default: any number.
    bytes: Option<RateText>,
    /// Largest message of a gRPC stream or WebSocket. Default: any size.
    max_message: Option<SizeText>,
    /// `pause` (read no more until there is room) or `close`. Default: pause.
    on_excess: Option<String>,
    /// `up` (what the client sends), `down` (what it is sent) or `both`, each by itself. Default: both.
    direction: Option<String>,
    /// Count and log what would be refused, and refuse nothing. Default: false.
    dry_run: Option<bool>,
}

/// Limits of each direction of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimit {
    /// Messages; as many as in one span may come at once.
    pub messages: Option<Rate>,
    /// Bytes; as many as in one span may come at once.
    pub bytes: Option<Rate>,
    /// Bytes of the largest message.
    pub max_message: Option<u64>,
    /// What is done about a rate; a message that is too large always ends the call.
    pub on_excess: OnExcess,
    /// Whether it holds for what the client sends.
    pub up: bool,
    /// Whether it holds for what the client is sent.
    pub down: bool,
    /// Whether nothing is refused.
    pub dry_run: bool,
}

/// What is done when a direction is too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExcess {
    /// The call ends.
    Close,
    /// The sender is read no more until there is room: it feels that as a slow receiver.
    Pause,
}

impl MessageLimitFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<MessageLimit> {
        let longest = Duration::from_millis(LONGEST);
        let empty = self.messages.is_none() && self.bytes.is_none() && self.max_message.is_none();
        if empty && !problems.broken_below(at) {
            let hint = "write `messages`, `bytes` or `max_message`, e.g. `messages = \"50/1s\"`";
            problems.add_hint(at, "limits nothing", hint);
        }
        let messages = optional(self.messages, |rate| {
            rate.parse(&at.key("messages"), MOST, longest, problems)
        });
        let bytes = optional(self.bytes, |rate| {
            rate.parse_bytes(&at.key("bytes"), 1 << 40, longest, problems)
        });
        let max_message = optional(self.max_message, |size| {
            size.parse(&at.key("max_message"), &(1..=1 << 40), problems)
        });
        let words = [("close", OnExcess::Close), ("pause", OnExcess::Pause)];
        let on_excess = match &self.on_excess {
            Some(word) => choice(word, &at.key("on_excess"), &words, problems),
            None => Some(OnExcess::Pause),
        };
        let words = [("both", (true, true)), ("down", (false, true)), ("up", (true, false))];
        let direction = match &self.direction {
            Some(word) => choice(word, &at.key("direction"), &words, problems),
            None => Some((true, true)),
        };
        let (up, down) = direction?;
        Some(MessageLimit {
            messages: messages?,
            bytes: bytes?,
            max_message: max_message?,
            on_excess: on_excess?,
            up,
            down,
            dry_run: self.dry_run.unwrap_or(false),
        })
    }
}
