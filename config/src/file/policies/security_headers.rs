//! `[routes.security_headers]`: reply fields that make browsers careful.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::file::value::{choice, optional};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::DurationText;

/// `[routes.security_headers]` as written; `{}` is the preset.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecurityHeadersFile {
    /// How long browsers use only TLS (`strict-transport-security`); said over TLS only. `0s`: not said. Default: one year.
    hsts: Option<DurationText>,
    /// Whether that holds for all names below, too. Default: false.
    hsts_subdomains: Option<bool>,
    /// Whether browsers may have it built in. Default: false.
    hsts_preload: Option<bool>,
    /// Say `x-content-type-options: nosniff`. Default: true.
    nosniff: Option<bool>,
    /// Who may show it in a frame: `deny` (nobody), `sameorigin`, or `off` to say nothing. Default: `deny`.
    #[schemars(extend("enum" = ["deny", "sameorigin", "off"]))]
    frame_options: Option<String>,
    /// `referrer-policy`; empty: not said. Default: `strict-origin-when-cross-origin`.
    referrer_policy: Option<String>,
    /// `content-security-policy` as it is to be said. Default: not said.
    content_security_policy: Option<String>,
    /// `permissions-policy` as it is to be said. Default: not said.
    permissions_policy: Option<String>,
}

/// What is said where the backend does not say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityHeaders {
    /// `strict-transport-security`, over TLS only.
    pub hsts: Option<Hsts>,
    /// `x-content-type-options: nosniff`.
    pub nosniff: bool,
    /// `x-frame-options`.
    pub frame_options: Option<FrameOptions>,
    /// `referrer-policy`.
    pub referrer_policy: Option<String>,
    /// `content-security-policy`.
    pub content_security_policy: Option<String>,
    /// `permissions-policy`.
    pub permissions_policy: Option<String>,
}

/// HTTP Strict Transport Security (RFC 6797).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// How long it holds.
    pub max_age: Duration,
    /// `includeSubDomains`.
    pub subdomains: bool,
    /// `preload`.
    pub preload: bool,
}

/// Who may show a page in a frame (RFC 7034).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameOptions {
    /// Nobody.
    Deny,
    /// Pages of the same origin.
    SameOrigin,
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl SecurityHeadersFile {
    pub(crate) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<SecurityHeaders> {
        let max_age = match self.hsts {
            Some(text) => text.parse(&at.key("hsts"), &(Duration::ZERO..=10 * YEAR), problems),
            None => Some(YEAR),
        };
        let words = [
            ("deny", Some(FrameOptions::Deny)),
            ("sameorigin", Some(FrameOptions::SameOrigin)),
            ("off", None),
        ];
        let frame_options = match self.frame_options {
            Some(text) => choice(&text, &at.key("frame_options"), &words, problems),
            None => Some(Some(FrameOptions::Deny)),
        };
        let mut said =
            |written: Option<String>, key: &str| optional(written, |text| value(text, &at.key(key), problems));
        let referrer = self
            .referrer_policy
            .unwrap_or_else(|| "strict-origin-when-cross-origin".to_owned());
        let referrer_policy = said(Some(referrer), "referrer_policy");
        let content_security_policy = said(self.content_security_policy, "content_security_policy");
        let permissions_policy = said(self.permissions_policy, "permissions_policy");
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        Some(SecurityHeaders {
            hsts: Some(max_age?).filter(|age| !age.is_zero()).map(|max_age| Hsts {
                max_age,
                subdomains: self.hsts_subdomains.unwrap_or(false),
                preload: self.hsts_preload.unwrap_or(false),
            }),
            nosniff: self.nosniff.unwrap_or(true),
            frame_options: frame_options?,
            referrer_policy: filled(referrer_policy?),
            content_security_policy: filled(content_security_policy?),
            permissions_policy: filled(permissions_policy?),
        })
    }
}

fn value(text: String, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    if text.parse::<http::HeaderValue>().is_ok() && text.is_ascii() {
        return Some(text);
    }
    problems.add_hint(
        at,
        "cannot be the value of a field",
        "write printable ASCII on one line",
    );
    None
}
