//! The request target, normalised once at the edge: what was routed and authorised is byte for byte what is forwarded.

use std::fmt;

/// Why a request target or authority was refused. The client gets a 400 that says this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither `/path`, nor an absolute URI, nor `*`.
    #[error("request target does not start with `/`")]
    Form,
    /// A byte that no target has: a control, a space, `#`, `\` in the path, or anything above ASCII.
    #[error("request target holds a character that must be percent-encoded")]
    Character,
    /// `%` without two hexadecimal digits.
    #[error("request target holds a malformed percent-encoding")]
    Encoding,
    /// `%2F`, `%5C`, `%00` or another encoded control character, on which servers disagree.
    #[error("request path holds an encoded slash, backslash or control character")]
    Ambiguous,
    /// A `..` segment, plain, encoded or followed by `;`.
    #[error("request path holds a `..` segment")]
    Climbs,
    /// Percent-encoded bytes that are not UTF-8.
    #[error("request path is not UTF-8 once decoded")]
    Utf8,
    /// Not `host`, `host:port` or `[v6]:port`, or with user information.
    #[error("authority is not a host with an optional port")]
    Authority,
    /// Absolute target and `host`, or `:authority` and `host`, differ.
    #[error("request target and host differ")]
    Mismatch,
}

/// Host and optional port, in lower case, without a trailing dot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Authority {
    text: String,
    host: usize,
}

impl Authority {
    /// Parses `host`, `host:port`, `1.2.3.4:port` or `[v6]:port` (RFC 3986, section 3.2, without user information).
    ///
    /// # Errors
    /// [`TargetError::Authority`].
    pub fn parse(raw: &[u8]) -> Result<Self, TargetError> {
        let end = match raw.first() {
            Some(b'[') => {
                raw.iter()
                    .position(|byte| *byte == b']')
                    .ok_or(TargetError::Authority)?
                    + 1
            }
            Some(_) => raw.iter().position(|byte| *byte == b':').unwrap_or(raw.len()),
            None => return Err(TargetError::Authority),
        };
        let (host, port) = raw.split_at(end);
        let legal = if let Some(inside) = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")) {
            std::str::from_utf8(inside).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
        } else {
            host.iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$'))
        };
        let doubled = host.windows(2).any(|pair| pair == b"..");
        let host = host.strip_suffix(b".").unwrap_or(host);
        if !legal || host.is_empty() || host.len() > 255 || doubled {
            return Err(TargetError::Authority);
        }
        match port {
            [] | [b':'] => {}
            [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
                let number = digits
                    .iter()
                    .fold(0u32, |number, digit| number * 10 + u32::from(digit - b'0'));
                if number > 65_535 {
                    return Err(TargetError::Authority);
                }
            }
            _ => return Err(TargetError::Authority),
        }
        let mut text = String::with_capacity(raw.len());
        text.extend(host.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        let host = text.len();
        if port.len() > 1 {
            text.extend(port.iter().map(|byte| char::from(*byte)));
        }
        Ok(Self { text, host })
    }

    /// The whole, as it goes into `host` and `:authority`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host alone.
    pub fn host(&self) -> &str {
        &self.text[..self.host]
    }

    /// Whether the client named none (HTTP/1.0).
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Authority, normalised path, and query as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whom the client asked.
    pub authority: Authority,
    text: String,
    path: usize,
}

impl Target {
    /// Parses a target in origin-form (`/path?query`) or asterisk-form (RFC 9112, section 3.2).
    ///
    /// The path is normalised: unreserved characters are decoded, the hexadecimal digits of others are upper case,
    /// `.` segments and repeated slashes are dropped. What servers read differently is refused, see [`TargetError`].
    /// Normalising a normalised path changes nothing.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn parse(authority: Authority, raw: &[u8]) -> Result<Self, TargetError> {
        if raw == b"*" {
            return Ok(Self {
                authority,
                text: "*".to_owned(),
                path: 1,
            });
        }
        let split = memchr::memchr(b'?', raw);
        let (path, query) = match split {
            Some(at) => (&raw[..at], Some(&raw[at..])),
            None => (raw, None),
        };
        let mut text = String::with_capacity(raw.len());
        if is_plain(path) {
            // is_plain has checked that this is ASCII.
            text.push_str(std::str::from_utf8(path).map_err(|_| TargetError::Character)?);
        } else {
            normalise(path, &mut text)?;
        }
        let path = text.len();
        if let Some(query) = query {
            if !query.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'#') {
                return Err(TargetError::Character);
            }
            text.push_str(std::str::from_utf8(query).map_err(|_| TargetError::Character)?);
        }
        Ok(Self { authority, text, path })
    }

    /// The normalised path.
    pub fn path(&self) -> &str {
        &self.text[..self.path]
    }

    /// What follows the `?`, without it.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.path + 1..)
    }

    /// Path, `?` and query, as they are forwarded.
    pub fn path_and_query(&self) -> &str {
        &self.text
    }

    /// Replaces the path by another, keeping the query.
    ///
    /// # Errors
    /// As [`parse`](Self::parse); a rewrite is normalised like what a client sent.
    pub fn with_path(&self, path: &str) -> Result<Self, TargetError> {
        if path.contains('?') {
            return Err(TargetError::Character);
        }
        let mut raw = path.to_owned();
        raw.push_str(&self.text[self.path..]);
        Self::parse(self.authority.clone(), raw.as_bytes())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.authority, self.path())
    }
}

/// Whether normalising would change nothing: the common case, checked in one pass.
fn is_plain(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return false;
    }
    let mut before = 0;
    for &byte in path {
        let legal = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' | b'/')
            // A dot is plain where it cannot begin a dot segment.
            || (byte == b'.' && before != b'/');
        if !legal || (byte == b'/' && before == b'/') {
            return false;
        }
        before = byte;
    }
    true
}

fn normalise(raw: &[u8], out: &mut String) -> Result<(), TargetError> {
    let rest = raw.strip_prefix(b"/").ok_or(TargetError::Form)?;
    let mut decoded = Vec::new();
    let mut segments = rest.split(|byte| *byte == b'/').peekable();
    out.push('/');
    while let Some(raw) = segments.next() {
        let start = out.len();
        decoded.clear();
        segment(raw, out, &mut decoded)?;
        if std::str::from_utf8(&decoded).is_err() {
            return Err(TargetError::Utf8);
        }
        let name = decoded.split(|byte| *byte == b';').next().unwrap_or_default();
        match name {
            b".." => return Err(TargetError::Climbs),
            b"." if name.len() == decoded.len() => out.truncate(start),
            b"." => return Err(TargetError::Climbs),
            _ => {}
        }
        // Empty and `.` segments vanish; the last one leaves its slash.
        if out.len() > start && segments.peek().is_some() {
            out.push('/');
        }
    }
    Ok(())
}

/// Appends one segment, its escapes in their one form, and collects its decoded bytes.
fn segment(raw: &[u8], out: &mut String, decoded: &mut Vec<u8>) -> Result<(), TargetError> {
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        at += 1;
        match byte {
            b'%' => {
                let pair = raw.get(at..at + 2).ok_or(TargetError::Encoding)?;
                let (high, low) = (hex(pair[0])?, hex(pair[1])?);
                at += 2;
                let value = high * 16 + low;
                decoded.push(value);
                match value {
                    0x00..=0x1f | 0x7f | b'/' | b'\\' => return Err(TargetError::Ambiguous),
                    b'-' | b'.' | b'_' | b'~' => out.push(char::from(value)),
                    _ if value.is_ascii_alphanumeric() => out.push(char::from(value)),
                    _ => escape(value, out),
                }
            }
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | b'[' | b']' => {
                decoded.push(byte);
                escape(byte, out);
            }
            b'\\' | b'#' | 0x00..=0x20 | 0x7f..=0xff => return Err(TargetError::Character),
            _ => {
                decoded.push(byte);
                out.push(char::from(byte));
            }
        }
    }
    Ok(())
}

fn hex(digit: u8) -> Result<u8, TargetError> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
        .ok_or(TargetError::Encoding)
}

fn escape(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests;
