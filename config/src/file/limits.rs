//! `[limits]`, `[timeouts]`, `[drain]` and `[dns]`: each with the smallest and largest value that makes sense.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{all, duration, optional, whole};
use crate::model::{Dns, Drain, Limits, Timeouts};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::{DurationText, SizeText, brief};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const DAY: u64 = 24 * 3_600_000;

/// `[limits]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsFile {
    /// Client connections of the gateway.
    connections: Option<i64>,
    /// Request line and fields together.
    head: Option<SizeText>,
    /// Number of fields.
    fields: Option<i64>,
    /// Request target.
    target: Option<SizeText>,
    /// Largest request body. Default: no limit.
    body: Option<SizeText>,
    /// Streams of one HTTP/2 connection.
    http2_streams: Option<i64>,
    /// Largest frame of a WebSocket that is passed through.
    websocket_frame: Option<SizeText>,
    /// Frames of one WebSocket message.
    websocket_fragments: Option<i64>,
    /// TLS handshakes under way.
    handshakes: Option<i64>,
    /// Of those, from one client address; an IPv6 /64 counts as one.
    handshakes_per_address: Option<i64>,
    /// Memory to stay below; new calls are refused at 80 percent of it.
    memory: Option<SizeText>,
}

impl LimitsFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Limits> {
        let size = |value: Option<SizeText>, key: &str, least: u64, most: u64, problems: &mut Problems| {
            value.and_then(|value| value.parse(&at.key(key), &(least..=most), problems))
        };
        let connections = whole(self.connections, &at.key("connections"), 1..=10_000_000, problems);
        let head = size(self.head, "head", KIB, MIB, problems);
        let fields = whole(self.fields, &at.key("fields"), 8..=10_000, problems);
        let target = size(self.target, "target", 256, MIB, problems);
        let body = optional(self.body, |value| size(Some(value), "body", 0, 1 << 40, problems));
        let http2_streams = whole(self.http2_streams, &at.key("http2_streams"), 1..=65_536, problems);
        let websocket_frame = size(self.websocket_frame, "websocket_frame", 125, 1 << 40, problems);
        let websocket_fragments = whole(
            self.websocket_fragments,
            &at.key("websocket_fragments"),
            1..=1_000_000,
            problems,
        );
        let handshakes = whole(self.handshakes, &at.key("handshakes"), 1..=1_000_000, problems);
        let per_address = at.key("handshakes_per_address");
        let handshakes_per_address = whole(self.handshakes_per_address, &per_address, 1..=1_000_000, problems);
        let memory = size(self.memory, "memory", 32 * MIB, 1 << 44, problems);
        if let (Some(head), Some(target)) = (head, target)
            && target > head
        {
            problems.add_hint(
                &at.key("target"),
                "is larger than `limits.head`",
                "the target is a part of the head",
            );
        }
        Some(Limits {
            connections: connections?,
            head: usize::try_from(head?).ok()?,
            fields: fields?,
            target: usize::try_from(target?).ok()?,
            body: body?,
            http2_streams: http2_streams?,
            websocket_frame: websocket_frame?,
            websocket_fragments: websocket_fragments?,
            handshakes: handshakes?,
            handshakes_per_address: handshakes_per_address?,
            memory: memory?,
        })
    }
}

/// `[timeouts]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeoutsFile {
    /// From the first byte of a head to its end.
    head: Option<DurationText>,
    /// Longest pause of a request body.
    body: Option<DurationText>,
    /// Longest time a write makes no progress.
    write: Option<DurationText>,
    /// A connection without calls.
    idle: Option<DurationText>,
    /// A WebSocket without bytes either way.
    websocket_idle: Option<DurationText>,
    /// TLS handshake.
    handshake: Option<DurationText>,
}

impl TimeoutsFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Timeouts> {
        let mut parse = |value: Option<DurationText>, key: &str, most: u64| {
            duration(value.as_ref(), &at.key(key), 100..=most, problems)
        };
        let head = parse(self.head, "head", 600_000);
        let body = parse(self.body, "body", DAY);
        let write = parse(self.write, "write", DAY);
        let idle = parse(self.idle, "idle", DAY);
        let websocket_idle = parse(self.websocket_idle, "websocket_idle", 7 * DAY);
        let handshake = parse(self.handshake, "handshake", 60_000);
        Some(Timeouts {
            head: head?,
            body: body?,
            write: write?,
            idle: idle?,
            websocket_idle: websocket_idle?,
            handshake: handshake?,
        })
    }
}

/// `[drain]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainFile {
    /// Between failing readiness and closing listeners.
    delay: Option<DurationText>,
    /// What is left after this is cut and named in the log.
    deadline: Option<DurationText>,
}

impl DrainFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Drain> {
        let delay = duration(self.delay.as_ref(), &at.key("delay"), 0..=600_000, problems);
        let deadline = duration(self.deadline.as_ref(), &at.key("deadline"), 0..=DAY, problems);
        Some(Drain {
            delay: delay?,
            deadline: deadline?,
        })
    }
}

/// `[dns]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DnsFile {
    /// Servers to ask, as address or address and port. Default: the system's.
    servers: Option<Vec<String>>,
    /// For one look-up.
    timeout: Option<DurationText>,
    /// Shortest time between look-ups of a name.
    min_ttl: Option<DurationText>,
    /// Longest time between look-ups of a name.
    max_ttl: Option<DurationText>,
    /// How long the last good answer is used when no new one can be had.
    max_stale: Option<DurationText>,
    /// Addresses taken from one answer.
    max_endpoints: Option<i64>,
}

impl DnsFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Dns> {
        let servers = all(self.servers, &at.key("servers"), |text, at| server(&text, at, problems));
        let timeout = duration(self.timeout.as_ref(), &at.key("timeout"), 100..=60_000, problems);
        let min_ttl = duration(self.min_ttl.as_ref(), &at.key("min_ttl"), 100..=3_600_000, problems);
        let max_ttl = duration(self.max_ttl.as_ref(), &at.key("max_ttl"), 1000..=DAY, problems);
        let max_stale = duration(self.max_stale.as_ref(), &at.key("max_stale"), 0..=7 * DAY, problems);
        let max_endpoints = whole(self.max_endpoints, &at.key("max_endpoints"), 1..=4096, problems);
        if let (Some(min), Some(max)) = (min_ttl, max_ttl)
            && min > max
        {
            problems.add(&at.key("min_ttl"), "is longer than `dns.max_ttl`");
        }
        Some(Dns {
            servers: servers?,
            timeout: timeout?,
            min_ttl: min_ttl?,
            max_ttl: max_ttl?,
            max_stale: max_stale?,
            max_endpoints: max_endpoints?,
        })
    }
}

fn server(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<SocketAddr> {
    let address = text
        .parse()
        .ok()
        .or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 53)));
    match address {
        Some(address) if address.port() != 0 => Some(address),
        _ => {
            let hint = "write an IP address, such as `10.0.0.53`, and a port if it is not 53";
            problems.add_hint(at, format!("`{}` is not a server", brief(text)), hint);
            None
        }
    }
}
