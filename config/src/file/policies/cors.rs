//! `[routes.cors]`: pages of other origins that may call (Fetch Standard, "CORS protocol").

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::file::routes::origin;
use crate::file::value::{all, choice};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::{DurationText, brief};

/// `[routes.cors]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CorsFile {
    /// Origins whose pages may call: `https://app.acme.example`, `*.acme.example`, or `*` alone for any.
    origins: Option<Vec<String>>,
    /// Methods they may use, or `*` alone. Default: `GET`, `HEAD` and `POST`.
    methods: Option<Vec<String>>,
    /// Request fields they may set beside those that are always safe, or `*` alone.
    headers: Option<Vec<String>>,
    /// Reply fields they may read beside those that are always safe, or `*` alone.
    expose: Option<Vec<String>>,
    /// Whether they may send cookies and other credentials. Default: false.
    credentials: Option<bool>,
    /// How long a browser may remember the answer to a preflight. Default: `5s`, as in the Fetch Standard.
    max_age: Option<DurationText>,
    /// Whether public pages may call into this private network. Default: false.
    private_network: Option<bool>,
    /// Adds what clients in browsers need: `grpc-web` or `connect`.
    #[schemars(extend("items" = { "type": "string", "enum": ["connect", "grpc-web"] }))]
    presets: Option<Vec<String>>,
}

/// Which pages may call, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Exact origins and `*.suffix`, lower case.
    pub origins: CorsList,
    /// Methods, upper case.
    pub methods: CorsList,
    /// Request fields, lower case.
    pub headers: CorsList,
    /// Reply fields, lower case.
    pub expose: CorsList,
    /// Whether credentials may be sent. Never with a [`CorsList::Any`].
    pub credentials: bool,
    /// How long a preflight's answer holds.
    pub max_age: Duration,
    /// Whether public pages may call into a private network.
    pub private_network: bool,
}

/// Any, or these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsList {
    /// `*`.
    Any,
    /// These alone.
    These(Vec<String>),
}

#[derive(Clone, Copy)]
enum Preset {
    Connect,
    GrpcWeb,
}

impl CorsFile {
    pub(crate) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Cors> {
        let credentials = self.credentials.unwrap_or(false);
        let presets = all(self.presets, &at.key("presets"), |text, at| {
            let words = [("connect", Preset::Connect), ("grpc-web", Preset::GrpcWeb)];
            choice(&text, at, &words, problems)
        });
        if self.origins.as_ref().is_none_or(Vec::is_empty) {
            problems.missing(
                &at.key("origins"),
                "name the pages that may call, e.g. `https://app.acme.example`",
            );
            return None;
        }
        let mut list = |written: Option<Vec<String>>, key: &str, parse: Parse| {
            let at = at.key(key);
            let written = written.unwrap_or_default();
            if written.iter().any(|text| text == "*") {
                if credentials {
                    let hint = "with credentials browsers do not take `*`: name each";
                    problems.add_hint(&at, "is `*` beside `credentials`", hint);
                    return None;
                }
                if written.len() > 1 {
                    problems.add_hint(&at, "has `*` and others", "write `*` alone");
                    return None;
                }
                return Some(CorsList::Any);
            }
            all(Some(written), &at, |text, at| parse(text, at, problems)).map(CorsList::These)
        };
        let methods = self
            .methods
            .unwrap_or_else(|| ["GET", "HEAD", "POST"].map(str::to_owned).to_vec());
        let origins = list(self.origins, "origins", origin);
        let methods = list(Some(methods), "methods", method);
        let headers = list(self.headers, "headers", field);
        let expose = list(self.expose, "expose", field);
        let day = Duration::from_secs(24 * 60 * 60);
        let max_age = match self.max_age {
            Some(text) => text.parse(&at.key("max_age"), &(Duration::ZERO..=day), problems),
            None => Some(Duration::from_secs(5)),
        };
        let mut cors = Cors {
            origins: origins?,
            methods: methods?,
            headers: headers?,
            expose: expose?,
            credentials,
            max_age: max_age?,
            private_network: self.private_network.unwrap_or(false),
        };
        for preset in presets? {
            preset.add_to(&mut cors);
        }
        Some(cors)
    }
}

type Parse = fn(String, &KeyPath, &mut Problems) -> Option<String>;

impl Preset {
    fn add_to(self, cors: &mut Cors) {
        let headers: &[&str] = match self {
            Self::Connect => &["content-type", "connect-protocol-version", "connect-timeout-ms"],
            Self::GrpcWeb => &["content-type", "grpc-timeout", "x-grpc-web", "x-user-agent"],
        };
        cors.headers.add(headers);
        // Connect's clients send GET for what has no side effects.
        cors.methods.add(match self {
            Self::Connect => &["GET", "POST"],
            Self::GrpcWeb => &["POST"],
        });
        match self {
            // Its errors are in the body.
            Self::Connect => {}
            Self::GrpcWeb => cors
                .expose
                .add(&["grpc-status", "grpc-message", "grpc-status-details-bin"]),
        }
    }
}

impl CorsList {
    /// Adds what is not there; any is any.
    fn add(&mut self, more: &[&str]) {
        if let Self::These(list) = self {
            for text in more {
                if !list.iter().any(|have| have == text) {
                    list.push((*text).to_owned());
                }
            }
        }
    }
}

fn method(text: String, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    let good = text.parse::<http::Method>().is_ok() && !text.bytes().any(|byte| byte.is_ascii_lowercase());
    if !good {
        problems.add(at, format!("`{}` is not a method in upper case", brief(&text)));
    }
    good.then_some(text)
}

fn field(text: String, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    match text.to_ascii_lowercase().parse::<http::HeaderName>() {
        Ok(name) => Some(name.as_str().to_owned()),
        Err(_) => {
            problems.add(at, format!("`{}` is not the name of a field", brief(&text)));
            None
        }
    }
}
