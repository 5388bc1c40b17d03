//! Trust domains and identities: the strict SPIFFE grammar, and the names of gateways.
//!
//! The grammar is that of the SPIFFE-ID standard, sections 2.1 to 2.4, and it is read strictly: upper case, ports,
//! user information, percent-encoding, queries, fragments, empty segments and dot segments are all errors, never
//! normalised away. Two different strings are therefore always two different identities.
//!
//! - Pure: no I/O and no clock.
//! - Cheap to clone: the text is shared.
//!
//! Posture: robust against an untrusted peer; identities are read from certificates.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

#[cfg(test)]
mod tests;

/// The longest trust domain in bytes (SPIFFE-ID 2.1).
pub const MAX_TRUST_DOMAIN: usize = 255;

/// The longest identity in bytes, scheme included (SPIFFE-ID 2.3).
pub const MAX_IDENTITY: usize = 2048;

const SCHEME: &str = "spiffe://";

/// Why a text is not a trust domain or an identity.
///
/// Texts are quoted with their control characters escaped and are cut after 128 bytes, so that a message may go into
/// a log as it is.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A character that the standard does not allow at this place.
    #[error("{text} has {found:?} in its {part}, where only {allowed} may stand")]
    Character {
        /// The text, quoted for a log.
        text: Quoted,
        /// The first character that is not allowed.
        found: char,
        /// `trust domain`, `path`, `site name` or `gateway name`.
        part: &'static str,
        /// What may stand there.
        allowed: &'static str,
    },
    /// Nothing where a name or a path segment must be, as in `a..b` or `/site//gateway`.
    #[error("{text} has an empty {part}")]
    Empty {
        /// The text, quoted for a log.
        text: Quoted,
        /// What is empty.
        part: &'static str,
    },
    /// A `.` or `..` segment.
    #[error("{text} has a dot segment in its {part}")]
    DotSegment {
        /// The text, quoted for a log.
        text: Quoted,
        /// `path`, `site name` or `gateway name`.
        part: &'static str,
    },
    /// The identity of a trust domain itself; it names authorities and never a gateway or a workload.
    #[error("{text} names a trust domain only; an identity needs a path such as /site/aws/gateway/gw-1")]
    NoPath {
        /// The text, quoted for a log.
        text: Quoted,
    },
    /// The scheme is not `spiffe://`.
    #[error("{text} does not start with spiffe://")]
    Scheme {
        /// The text, quoted for a log.
        text: Quoted,
    },
    /// Longer than the standard allows.
    #[error("{text} has {length} bytes, the longest {part} has {limit}")]
    TooLong {
        /// The text, quoted for a log.
        text: Quoted,
        /// `trust domain` or `identity`.
        part: &'static str,
        /// What was found, in bytes.
        length: usize,
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// The path ends in a slash.
    #[error("{text} ends with a slash")]
    TrailingSlash {
        /// The text, quoted for a log.
        text: Quoted,
    },
}

/// Text from outside, made safe for a log line: quoted, escaped, and cut after 128 bytes.
#[derive(Clone, Eq, PartialEq)]
pub struct Quoted(Box<str>);

impl Quoted {
    const LIMIT: usize = 128;

    /// Quotes a text.
    pub fn new(text: &str) -> Self {
        let cut = (0..=Self::LIMIT.min(text.len()))
            .rev()
            .find(|&at| text.is_char_boundary(at))
            .unwrap_or(0);
        let more = if cut < text.len() { "…" } else { "" };
        Self(format!("`{}{more}`", text[..cut].escape_debug()).into())
    }
}

impl fmt::Debug for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of one authority over identities, such as `aws.acme.example` (SPIFFE-ID 2.1).
///
/// Lower-case letters, digits, `.`, `-` and `_`, at most 255 bytes. Stricter than the standard in one thing: no empty
/// label, so that the name of a bundle file is never a hidden file or a parent directory.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Reads a trust domain as written in configuration: the name alone, without scheme.
    ///
    /// # Errors
    /// [`IdentityError`] names the first rule of the grammar that the text breaks.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        Self::of(text, text)
    }

    /// `whole` is what an error quotes.
    fn of(name: &str, whole: &str) -> Result<Self, IdentityError> {
        const PART: &str = "trust domain";
        if name.len() > MAX_TRUST_DOMAIN {
            let (length, limit) = (name.len(), MAX_TRUST_DOMAIN);
            return Err(IdentityError::TooLong {
                text: Quoted::new(whole),
                part: PART,
                length,
                limit,
            });
        }
        if let Some(found) = name
            .chars()
            .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_'))
        {
            let allowed = "lower-case letters, digits, `.`, `-` and `_`";
            return Err(IdentityError::Character {
                text: Quoted::new(whole),
                found,
                part: PART,
                allowed,
            });
        }
        if name.is_empty() {
            return Err(IdentityError::Empty {
                text: Quoted::new(whole),
                part: PART,
            });
        }
        if name.split('.').any(str::is_empty) {
            return Err(IdentityError::Empty {
                text: Quoted::new(whole),
                part: "trust domain label",
            });
        }
        Ok(Self(name.into()))
    }

    /// The name, such as `aws.acme.example`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SPIFFE id of the trust domain itself, which its authorities carry: `spiffe://aws.acme.example`.
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }
}

/// A name that a certificate proves: `spiffe://<trust-domain>/<path>`, never the trust domain alone.
///
/// Gateways have `spiffe://<trust-domain>/site/<site>/gateway/<name>`; other workloads of a trust domain may have any
/// path. Holding an `Identity` says that the text is well formed, not that anybody proved it: only
/// the verifier does.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identity {
    uri: Arc<str>,
    trust_domain: TrustDomain,
}

impl Identity {
    /// Reads a SPIFFE id with a path.
    ///
    /// # Errors
    /// [`IdentityError`] names the first rule of the grammar that the text breaks.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        if text.len() > MAX_IDENTITY {
            let (length, limit) = (text.len(), MAX_IDENTITY);
            return Err(IdentityError::TooLong {
                text: Quoted::new(text),
                part: "identity",
                length,
                limit,
            });
        }
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return Err(IdentityError::Scheme {
                text: Quoted::new(text),
            });
        };
        let (name, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let trust_domain = TrustDomain::of(name, text)?;
        let Some(segments) = path.strip_prefix('/').filter(|segments| !segments.is_empty()) else {
            return Err(IdentityError::NoPath {
                text: Quoted::new(text),
            });
        };
        if segments.ends_with('/') {
            return Err(IdentityError::TrailingSlash {
                text: Quoted::new(text),
            });
        }
        for segment in segments.split('/') {
            check_segment(segment, text, "path")?;
        }
        Ok(Self {
            uri: text.into(),
            trust_domain,
        })
    }

    /// The identity of a gateway: `spiffe://<trust-domain>/site/<site>/gateway/<name>`.
    ///
    /// # Errors
    /// When the site or the gateway is not one path segment of letters, digits, `.`, `-` and `_`, or the whole is too
    /// long.
    pub fn gateway_of(trust_domain: &TrustDomain, site: &str, name: &str) -> Result<Self, IdentityError> {
        check_segment(site, site, "site name")?;
        check_segment(name, name, "gateway name")?;
        Self::parse(&format!("{SCHEME}{trust_domain}/site/{site}/gateway/{name}"))
    }

    /// The whole id, `spiffe://...`.
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// Who vouches for this identity.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path with its leading slash, such as `/site/aws/gateway/gw-1`.
    pub fn path(&self) -> &str {
        &self.uri[SCHEME.len() + self.trust_domain.as_str().len()..]
    }

    /// The site, when this is the identity of a gateway.
    pub fn site(&self) -> Option<&str> {
        Some(self.site_and_gateway()?.0)
    }

    /// The name of the gateway within its site, when this is the identity of a gateway.
    pub fn gateway(&self) -> Option<&str> {
        Some(self.site_and_gateway()?.1)
    }

    fn site_and_gateway(&self) -> Option<(&str, &str)> {
        let (site, rest) = self.path().strip_prefix("/site/")?.split_once('/')?;
        let name = rest.strip_prefix("gateway/")?;
        (!name.contains('/')).then_some((site, name))
    }
}

/// One path segment (SPIFFE-ID 2.2). `whole` is what an error quotes.
fn check_segment(segment: &str, whole: &str, part: &'static str) -> Result<(), IdentityError> {
    let text = || Quoted::new(whole);
    if segment.is_empty() {
        let part = if part == "path" { "path segment" } else { part };
        return Err(IdentityError::Empty { text: text(), part });
    }
    if segment == "." || segment == ".." {
        return Err(IdentityError::DotSegment { text: text(), part });
    }
    match segment
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')))
    {
        Some(found) => Err(IdentityError::Character {
            text: text(),
            found,
            part,
            allowed: "letters, digits, `.`, `-` and `_`",
        }),
        None => Ok(()),
    }
}

/// The impls that both names share: each is its text.
macro_rules! is_its_text {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($type), self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = IdentityError;

            fn from_str(text: &str) -> Result<Self, IdentityError> {
                Self::parse(text)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }
    };
}

is_its_text!(Identity);
is_its_text!(TrustDomain);
