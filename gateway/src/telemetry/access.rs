//! The access log: one line of JSON per call.
//!
//! A worker writes its lines into a buffer of its own and hands it over when it is full or when its timer ticks; a
//! thread does the rest ([`lines`](super::lines)). Whatever bytes a client or a peer sends, a call is one line: text is
//! escaped and cut to a length, and what is not UTF-8 is replaced.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use super::lines::Lines;
use super::record::CallRecord;

#[cfg(test)]
mod tests;

/// Bytes that a worker gathers before it hands them over.
const BATCH: usize = 16 * 1024;
/// Longest text of one member, in bytes of its value.
const TEXT: usize = 1024;

/// One worker's end of the access log.
#[derive(Debug)]
pub struct AccessLog {
    lines: Option<Lines>,
    site: Box<str>,
    buffer: RefCell<Vec<u8>>,
}

impl AccessLog {
    /// Writes to `lines`; without them nothing is written and nothing is built.
    pub fn new(lines: Option<Lines>, site: &str) -> Self {
        Self {
            lines,
            site: site.into(),
            buffer: RefCell::default(),
        }
    }

    /// Whether lines are wanted at all.
    pub fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    /// Adds the line of a call that has ended.
    pub fn write(&self, call: &CallRecord<'_>) {
        let Some(lines) = &self.lines else { return };
        let mut buffer = self.buffer.borrow_mut();
        if buffer.capacity() == 0 {
            // Room for the line that crosses the bound.
            buffer.reserve(BATCH + 2048);
        }
        line(&mut buffer, &self.site, call);
        if buffer.len() >= BATCH {
            lines.push(std::mem::take(&mut *buffer));
        }
    }

    /// Hands over what has been gathered. Called by the worker's timer, so that a line is seen soon.
    pub fn flush(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if let Some(lines) = &self.lines
            && !buffer.is_empty()
        {
            lines.push(std::mem::take(&mut *buffer));
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Writes one line, without an intermediate tree.
fn line(out: &mut Vec<u8>, site: &str, call: &CallRecord<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    time(out, call.started);
    out.push(b'"');
    text(out, "site", site);
    text(out, "listener", call.listener);
    text(out, "protocol", call.protocol.label());
    text(out, "method", call.method);
    text(out, "host", call.host);
    text(out, "path", call.path);
    maybe(out, "route", call.route);
    maybe(out, "service", call.service);
    maybe(out, "endpoint", call.endpoint);
    maybe(out, "peer", call.peer);
    number(out, "status", u64::from(call.status));
    if let Some(code) = call.grpc {
        number(out, "grpc_status", u64::from(code.number()));
    }
    number(out, "bytes_in", call.bytes_in);
    number(out, "bytes_out", call.bytes_out);
    key(out, "duration_ms");
    millis(out, call.duration);
    number(out, "attempts", u64::from(call.attempts));
    if let Some(failure) = call.failure {
        text(out, "failure", failure.kind.label());
        text(out, "reason", failure.reason);
    }
    maybe(out, "would_be_refused", call.would_be_refused);
    maybe(out, "principal", call.principal);
    key(out, "trace_id");
    out.push(b'"');
    out.extend_from_slice(&call.context.trace_id_hex());
    out.push(b'"');
    maybe(out, "request_id", call.request_id);
    if let Some(client) = call.client {
        use std::io::Write;
        key(out, "client");
        // Writing to a vector does not fail, and an address has nothing to escape.
        let _ = write!(out, "\"{client}\"");
    }
    if let Some(agent) = call.user_agent {
        key(out, "user_agent");
        string(out, agent, 256);
    }
    out.extend_from_slice(b"}\n");
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    string(out, value.as_bytes(), TEXT);
}

fn maybe(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(out, name, value);
    }
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    digits(out, value, 1);
}

/// At least `width` digits.
fn digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let mut buffer = [b'0'; 20];
    let mut at = buffer.len();
    while value > 0 || buffer.len() - at < width {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&buffer[at..]);
}

/// Milliseconds with microseconds after the point.
fn millis(out: &mut Vec<u8>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    digits(out, micros / 1000, 1);
    out.push(b'.');
    digits(out, micros % 1000, 3);
}

/// A JSON string of at most `limit` bytes of `bytes`; a cut is marked by an ellipsis. Control characters, among them
/// those of terminals (C1), and the separators that some readers take for line ends are escaped.
pub(crate) fn string(out: &mut Vec<u8>, bytes: &[u8], limit: usize) {
    out.push(b'"');
    let kept = &bytes[..bytes.len().min(limit)];
    // The plain case, most of the time.
    if kept
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
    {
        out.extend_from_slice(kept);
    } else {
        for chunk in kept.utf8_chunks() {
            chunk.valid().chars().for_each(|letter| escape(out, letter));
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
    if kept.len() < bytes.len() {
        out.extend_from_slice("\u{2026}".as_bytes());
    }
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, letter: char) {
    match letter {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{200e}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => {
            let code = letter as u32;
            let mut hex = [0; 4];
            super::trace::to_hex(&[(code >> 8) as u8, code as u8], &mut hex);
            out.extend_from_slice(b"\\u");
            out.extend_from_slice(&hex);
        }
        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// RFC 3339 in UTC with microseconds. Times before 1970 are shown as 1970.
pub(crate) fn time(out: &mut Vec<u8>, at: SystemTime) {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Howard Hinnant's civil_from_days, for days that are never negative.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    for (value, width, after) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second / 3600, 2, b':'),
        (second / 60 % 60, 2, b':'),
        (second % 60, 2, b'.'),
        (u64::from(since.subsec_micros()), 6, b'Z'),
    ] {
        digits(out, value, width);
        out.push(after);
    }
}
