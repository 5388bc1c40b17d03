//! `[admin]` and `[telemetry]`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use super::value::{LongForm, PathText, TextOr, all, bind, choice, optional, whole};
use crate::model::{AccessLog, Admin, OtlpProtocol, Telemetry, TraceContext};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::secret::Secret;
use crate::sources;
use crate::units::{brief, percent};

/// Bytes of a secret in a file of its own.
const SECRET: u64 = 64 << 10;

/// Bytes of the path of a socket: Linux has room for 108, and a moment's name beside it takes some.
const SOCKET: usize = 98;
/// Shortest token.
const TOKEN: usize = 16;

/// `[admin]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminFile {
    /// Loopback address and port.
    bind: Option<String>,
    /// Serve `/metrics` alone here too, e.g. for a scraper on the network.
    metrics_bind: Option<String>,
    /// Unix socket that takes changes: `POST /reload` and `POST /drain`. Its directory must be there. Default: none.
    socket: Option<PathText>,
    /// A file with the bearer token that lets one change something over `bind`. Default: nothing does.
    token_file: Option<PathText>,
    /// Names besides `localhost` and loopback addresses that `Host` may have.
    hosts: Option<Vec<String>>,
}

impl AdminFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Admin> {
        let here = at.key("bind");
        let address = self.bind.and_then(|text| bind(&text, &here, problems));
        if address.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
            let hint = "write `127.0.0.1:9000`; use `metrics_bind` to serve metrics to the network";
            problems.add_hint(&here, "must be a loopback address", hint);
        }
        let metrics_bind = optional(self.metrics_bind, |text| bind(&text, &at.key("metrics_bind"), problems));
        let socket = optional(self.socket, |path| socket(path, &at.key("socket"), problems));
        let token = optional(self.token_file, |path| token(&path, &at.key("token_file"), problems));
        let hosts = all(self.hosts, &at.key("hosts"), |text, at| host(&text, at, problems));
        Some(Admin {
            bind: address?,
            metrics_bind: metrics_bind?,
            socket: socket?,
            token: token?,
            hosts: hosts?,
        })
    }
}

fn socket(PathText(text): PathText, at: &KeyPath, problems: &mut Problems) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    if path.as_os_str().len() > SOCKET {
        problems.add_hint(
            at,
            format!("is longer than {SOCKET} bytes"),
            "no system takes a longer name of a socket: use another directory, e.g. `/run/causeway`",
        );
        return None;
    }
    in_a_directory(path, at, problems)
}

fn token(path: &PathText, at: &KeyPath, problems: &mut Problems) -> Option<Secret> {
    let token = from_file(Path::new(&path.0), at, problems)?;
    let text = token.expose();
    if text.len() < TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        problems.add_hint(
            at,
            format!("holds no token: at least {TOKEN} visible ASCII characters on one line"),
            "make one, e.g. with `openssl rand -hex 32`",
        );
        return None;
    }
    Some(token)
}

fn host(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || !text.bytes().all(good) {
        problems.add_hint(
            at,
            format!("`{}` is not a host name", brief(text)),
            "write it without port, e.g. `admin.acme.example`",
        );
        return None;
    }
    Some(text.to_ascii_lowercase())
}

/// `[telemetry]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TelemetryFile {
    /// Where OTLP traces go, e.g. `http://collector:4317`. Default: nowhere.
    otlp_endpoint: Option<String>,
    /// How OTLP is spoken.
    #[schemars(extend("enum" = ["grpc", "http"]))]
    otlp_protocol: Option<String>,
    /// Header fields sent along; `NAME_file` names a file with the value. Never printed.
    otlp_headers: Option<BTreeMap<String, Secret>>,
    /// Share of new traces that are sampled: 0.0 to 1.0, or `"10%"`.
    sample_ratio: Option<RatioFile>,
    /// Whether clients' `traceparent` is continued (`accept`) or not (`restart`).
    #[schemars(extend("enum" = ["accept", "restart"]))]
    trace_context: Option<String>,
    /// `stdout`, `off`, or `{ file = ".." }`.
    access_log: Option<TextOr<AccessLogFile>>,
    /// Spans waiting for export, 1 to 1000000; more are dropped and counted.
    queue: Option<i64>,
    /// Spans kept in the process for `/traces` on the admin port, 0 to 100000; 0 for none.
    keep_spans: Option<i64>,
}

/// A share: a number from 0 to 1, or percent as text.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct RatioFile(crate::units::Measure);

impl JsonSchema for RatioFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Ratio".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["number", "string"], "minimum": 0, "maximum": 1 })
    }
}

/// `access_log = { file = ".." }` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AccessLogFile {
    /// A file that is appended to; its directory must be there.
    file: Option<PathText>,
}

impl LongForm for AccessLogFile {}

impl TelemetryFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Telemetry> {
        let otlp_endpoint = optional(self.otlp_endpoint, |text| {
            endpoint(text, &at.key("otlp_endpoint"), problems)
        });
        let protocols = [("grpc", OtlpProtocol::Grpc), ("http", OtlpProtocol::Http)];
        let otlp_protocol = self
            .otlp_protocol
            .and_then(|text| choice(&text, &at.key("otlp_protocol"), &protocols, problems));
        let otlp_headers = headers(self.otlp_headers.unwrap_or_default(), &at.key("otlp_headers"), problems);
        let sample_ratio = self
            .sample_ratio
            .and_then(|ratio| ratio.parse(&at.key("sample_ratio"), problems));
        let contexts = [("accept", TraceContext::Accept), ("restart", TraceContext::Restart)];
        let trace_context = self
            .trace_context
            .and_then(|text| choice(&text, &at.key("trace_context"), &contexts, problems));
        let access_log = self
            .access_log
            .and_then(|log| access_log(log, &at.key("access_log"), problems));
        let queue = whole(self.queue, &at.key("queue"), 1..=1_000_000, problems);
        let keep_spans = whole(self.keep_spans, &at.key("keep_spans"), 0..=100_000, problems);
        Some(Telemetry {
            otlp_endpoint: otlp_endpoint?,
            otlp_headers: otlp_headers?,
            otlp_protocol: otlp_protocol?,
            sample_ratio: sample_ratio?,
            trace_context: trace_context?,
            access_log: access_log?,
            keep_spans: NonZeroUsize::new(keep_spans?),
            queue: queue?,
        })
    }
}

impl RatioFile {
    fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<f64> {
        let ratio = match self.0 {
            crate::units::Measure::Bare(number) => Some(number),
            crate::units::Measure::Text(text) => percent(&text).map(|percent| percent / 100.0),
        };
        let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
        if ratio.is_none() {
            problems.add_hint(
                at,
                "must be between 0.0 and 1.0",
                "write `0.1` or `\"10%\"` for one in ten",
            );
        }
        ratio
    }
}

fn endpoint(text: String, at: &KeyPath, problems: &mut Problems) -> Option<String> {
    let uri = text.parse::<Uri>().ok();
    let good = uri.as_ref().is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if !good {
        problems.add_hint(at, "is not an http or https URL", "write e.g. `http://collector:4317`");
        return None;
    }
    // It would be printed wherever the endpoint is named.
    if uri
        .and_then(|uri| uri.authority().cloned())
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        problems.add_hint(at, "has a password in it", "use `otlp_headers`, e.g. `authorization`");
        return None;
    }
    Some(text)
}

fn headers(table: BTreeMap<String, Secret>, at: &KeyPath, problems: &mut Problems) -> Option<Vec<(String, Secret)>> {
    let before = problems.count();
    let mut headers: Vec<(String, Secret)> = Vec::new();
    for (key, value) in table {
        let at = at.key(&key);
        let (name, value) = match key.strip_suffix("_file") {
            Some(name) => (name, from_file(Path::new(value.expose()), &at, problems)),
            None => (key.as_str(), Some(value)),
        };
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            problems.add(&at, "is not a header name");
            continue;
        };
        let Some(value) = value else { continue };
        if HeaderValue::from_str(value.expose()).is_err() {
            problems.add(&at, "has characters that no header value can have");
        } else if headers.iter().any(|(known, _)| known == name.as_str()) {
            problems.add(&at, format!("`{name}` is there twice"));
        } else {
            headers.push((name.as_str().to_owned(), value));
        }
    }
    (problems.count() == before).then_some(headers)
}

/// The text of a secret's file, without the line end that editors leave.
fn from_file(path: &Path, at: &KeyPath, problems: &mut Problems) -> Option<Secret> {
    // A pipe would be waited for without end.
    let read = match std::fs::metadata(path) {
        Ok(meta) if !meta.is_file() => {
            problems.add(at, format!("`{}` is not a file", path.display()));
            return None;
        }
        Ok(_) => sources::bytes(path, SECRET),
        Err(error) => Err(error),
    };
    match read {
        Ok(Some(bytes)) => match String::from_utf8(bytes) {
            Ok(text) => return Some(Secret::new(text.trim_end_matches(['\r', '\n']))),
            Err(_) => problems.add(at, format!("`{}` is not UTF-8 text", path.display())),
        },
        Ok(None) => problems.add(at, format!("`{}` is larger than 64KiB", path.display())),
        Err(error) => problems.add(at, format!("reading `{}`: {error}", path.display())),
    }
    None
}

fn access_log(log: TextOr<AccessLogFile>, at: &KeyPath, problems: &mut Problems) -> Option<AccessLog> {
    let file = match log {
        TextOr::Text(text) => {
            let words = [("off", Word::Off), ("stdout", Word::Stdout)];
            if text.contains(['/', '.']) {
                problems.add_hint(
                    at,
                    "must be one of `off`, `stdout`, or a table",
                    format!("write `{{ file = {text:?} }}`"),
                );
                return None;
            }
            return match choice(&text, at, &words, problems)? {
                Word::Off => Some(AccessLog::Off),
                Word::Stdout => Some(AccessLog::Stdout),
            };
        }
        TextOr::Long(log) => log.file,
    };
    let at = at.key("file");
    let Some(PathText(text)) = file else {
        problems.missing(&at, "name the file, or write `stdout` or `off`");
        return None;
    };
    in_a_directory(PathBuf::from(text), &at, problems).map(AccessLog::File)
}

/// A path that a file can be made at.
fn in_a_directory(path: PathBuf, at: &KeyPath, problems: &mut Problems) -> Option<PathBuf> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    if path.is_dir() || path.file_name().is_none() {
        problems.add(at, format!("`{}` is not a file", path.display()));
        return None;
    }
    if !folder.is_dir() {
        problems.add_hint(
            at,
            format!("there is no directory `{}`", folder.display()),
            "make it, with leave to write for the gateway",
        );
        return None;
    }
    Some(path)
}

#[derive(Clone, Copy)]
enum Word {
    Off,
    Stdout,
}
