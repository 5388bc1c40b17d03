//! `via`: through whom a message came (RFC 9110, section 7.6.3), and calls that come back by it.

use causeway_protocols::{Fields, name};

use crate::observe::Version;

/// How often a call may have been here. A backend may itself call this gateway and pass its fields on.
const TIMES: usize = 3;

/// What this gateway calls itself, by the version that a message came in by.
#[derive(Debug)]
pub struct Pseudonym {
    name: Box<str>,
    http1: Box<str>,
    http2: Box<str>,
    tunnel: Box<str>,
}

impl Pseudonym {
    /// That of a site: `causeway-aws`.
    pub fn of(site: &str) -> Self {
        let text = |version: &str| format!("{version} causeway-{site}").into();
        Self {
            name: format!("causeway-{site}").into(),
            http1: text("1.1"),
            http2: text("2"),
            tunnel: text("causeway/1"),
        }
    }

    /// The name alone.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says that a message came through here.
    pub fn add(&self, fields: &mut Fields, version: Version) {
        let value = match version {
            Version::Http1 => &self.http1,
            Version::Http2 => &self.http2,
            Version::Tunnel => &self.tunnel,
        };
        // The name of a site is a token.
        fields.push_known(name::VIA, value.as_bytes()).ok();
    }

    /// Whether a call has been here too often.
    pub fn is_loop(&self, fields: &Fields) -> bool {
        let mut seen = 0;
        for value in fields.all(name::VIA) {
            for entry in value.split(|byte| *byte == b',') {
                let mut words = entry.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                seen += usize::from(words.nth(1) == Some(self.name.as_bytes()));
            }
        }
        seen >= TIMES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_has_been_here_three_times_is_a_loop() {
        let own = Pseudonym::of("aws");
        let mut fields = Fields::new();
        fields
            .push(b"via", b"1.1 causeway-aws2, 1.0 fred (causeway-aws), 2 other")
            .unwrap();
        for _ in 0..TIMES {
            assert!(!own.is_loop(&fields));
            own.add(&mut fields, Version::Http2);
        }
        assert!(own.is_loop(&fields));
    }
}
