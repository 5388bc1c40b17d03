//! `[[introspectors]]`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{Kind, PathText, all, http_url, name, optional, required_path};
use crate::model::Introspector;
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::DurationText;

/// `[[introspectors]]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IntrospectorFile {
    /// What routes call it.
    pub(super) name: Option<String>,
    /// Where tokens are asked about (RFC 7662): `https`, or `http` on this host.
    url: Option<String>,
    /// Who asks, by HTTP Basic.
    client_id: Option<String>,
    /// A file with the secret of `client_id`; a line end does not count.
    client_secret_file: Option<PathText>,
    /// PEM file of the roots to trust. Default: the system's.
    roots: Option<PathText>,
    /// `aud` of an answer must hold one of these. Default: any, also none.
    audiences: Option<Vec<String>>,
    /// Longest wait for an answer. Default: 2s.
    timeout: Option<DurationText>,
    /// How long a good answer is remembered, at most until the token expires. Default: 60s, which is the most.
    cache: Option<DurationText>,
    /// How much longer a good answer is used while nobody answers. Default: 0s.
    stale: Option<DurationText>,
}

impl IntrospectorFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Introspector> {
        let name = name(
            self.name.as_deref(),
            &at.key("name"),
            "name the introspector, e.g. `acme`",
            problems,
        );
        let url = match self.url {
            Some(url) => http_url(&url, &at.key("url"), problems),
            None => {
                problems.missing(
                    &at.key("url"),
                    "say where tokens are asked about, e.g. `https://idp.acme.example/introspect`",
                );
                None
            }
        };
        let here = at.key("client_id");
        let client_id = match self.client_id {
            Some(id) if (1..=256).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) => Some(id),
            Some(_) => {
                problems.add(&here, "must have 1 to 256 visible ASCII characters");
                None
            }
            None => {
                problems.missing(&here, "an introspector must know who asks (RFC 7662, section 2.1)");
                None
            }
        };
        let client_secret = required_path(
            self.client_secret_file.as_ref(),
            &at.key("client_secret_file"),
            Kind::File,
            "name the file with the secret of `client_id`",
            problems,
        );
        let roots = optional(self.roots, |path| path.parse(&at.key("roots"), Kind::File, problems));
        let audiences = all(self.audiences, &at.key("audiences"), |text, _| Some(text));
        let mut within = |value: Option<DurationText>, key: &str, default: u64, least: u64, most: u64| {
            let range = Duration::from_millis(least)..=Duration::from_millis(most);
            match value {
                Some(value) => value.parse(&at.key(key), &range, problems),
                None => Some(Duration::from_millis(default)),
            }
        };
        let timeout = within(self.timeout, "timeout", 2000, 10, 30_000);
        let cache = within(self.cache, "cache", 60_000, 0, 60_000);
        let stale = within(self.stale, "stale", 0, 0, 86_400_000);
        Some(Introspector {
            name: name?,
            url: url?,
            client_id: client_id?,
            client_secret: client_secret?,
            roots: roots?,
            audiences: audiences?,
            timeout: timeout?,
            cache: cache?,
            stale: stale?,
        })
    }
}
