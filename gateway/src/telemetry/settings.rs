//! Traces as configured: the configuration file over the `OTEL_*` variables over the defaults.
//!
//! The SDK reads some of these variables by itself and not others; here all are read in one place, so that they mean
//! what the specification says and the configuration always wins. A variable that makes no sense is told to the
//! operator and ignored, as the specification asks for.

use std::path::PathBuf;
use std::time::Duration;

use causeway_config::{OtlpProtocol, Telemetry};

use super::trace::Sampler;

#[cfg(test)]
mod tests;

/// Queue of the configuration's default: where it says this, `OTEL_BSP_MAX_QUEUE_SIZE` may say otherwise.
const QUEUE: usize = 2048;

/// Which fields carry context between processes (`OTEL_PROPAGATORS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagators {
    /// `traceparent` and `tracestate`.
    pub trace_context: bool,
    /// `baggage`.
    pub baggage: bool,
}

impl Default for Propagators {
    fn default() -> Self {
        Self {
            trace_context: true,
            baggage: true,
        }
    }
}

/// Where spans go.
#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    /// A JSON object a line on standard output.
    Console,
    /// Nowhere but the in-process memory, if there is one.
    Nowhere,
    /// A collector.
    Otlp(Otlp),
}

/// A collector and how to talk to it.
#[derive(Clone, PartialEq)]
pub struct Otlp {
    /// With scheme and, for HTTP, the whole path.
    pub endpoint: String,
    /// gRPC, or HTTP with protobuf.
    pub protocol: OtlpProtocol,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// For one batch, retries included.
    pub timeout: Duration,
    /// Bodies are compressed.
    pub gzip: bool,
    /// PEM of the authorities that may vouch for the collector; none: the system's.
    pub certificate: Option<PathBuf>,
    /// PEM of our certificate and key, for collectors that want one.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl std::fmt::Debug for Otlp {
    /// Header fields carry tokens: their values are not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Otlp")
            .field("endpoint", &self.endpoint)
            .field("protocol", &self.protocol)
            .field("headers", &names)
            .field("timeout", &self.timeout)
            .field("gzip", &self.gzip)
            .finish_non_exhaustive()
    }
}

/// Everything there is to know for tracing.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// Which calls are traced.
    pub sampler: Sampler,
    /// What is read from calls and sent on.
    pub propagators: Propagators,
    /// Where spans go.
    pub destination: Destination,
    /// Spans that may wait.
    pub queue: usize,
    /// Spans of one export.
    pub batch: usize,
    /// Longest time a span waits for others to be exported with.
    pub delay: Duration,
    /// Longest text of an attribute, in bytes.
    pub value_limit: usize,
    /// Attributes of the resource: what these spans are spans of.
    pub resource: Vec<(String, String)>,
}

impl TraceSettings {
    /// Reads the settings. `variable` looks up the environment; what it says that makes no sense is told in the list.
    ///
    /// A value of the configuration that is its default counts as not said, and leaves the word to the environment.
    pub fn read(
        configured: &Telemetry,
        site: &str,
        instance: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> (Self, Vec<String>) {
        let mut env = Env {
            variable,
            problems: Vec::new(),
        };
        let disabled = env
            .text("OTEL_SDK_DISABLED")
            .is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let destination = if disabled {
            Destination::Nowhere
        } else {
            env.destination(configured)
        };
        let queue = match env.number("OTEL_BSP_MAX_QUEUE_SIZE") {
            Some(queue) if configured.queue == QUEUE => queue as usize,
            _ => configured.queue,
        }
        .clamp(1, 1 << 20);
        let settings = Self {
            sampler: if disabled {
                Sampler::off()
            } else {
                env.sampler(configured.sample_ratio)
            },
            propagators: env.propagators(),
            destination,
            queue,
            batch: (env.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE").unwrap_or(512) as usize).clamp(1, queue),
            delay: Duration::from_millis(env.number("OTEL_BSP_SCHEDULE_DELAY").unwrap_or(1000).clamp(1, 60_000)),
            value_limit: env
                .number("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")
                .map_or(1024, |limit| limit as usize),
            resource: env.resource(site, instance),
        };
        (settings, env.problems)
    }
}

struct Env<F> {
    variable: F,
    problems: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Env<F> {
    /// An empty variable is one that is not set.
    fn text(&self, name: &str) -> Option<String> {
        (self.variable)(name)
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
    }

    /// The variable of traces over that of all signals.
    fn otlp(&self, name: &str) -> Option<(String, String)> {
        [
            format!("OTEL_EXPORTER_OTLP_TRACES_{name}"),
            format!("OTEL_EXPORTER_OTLP_{name}"),
        ]
        .into_iter()
        .find_map(|full| self.text(&full).map(|text| (full, text)))
    }

    fn number(&mut self, name: &str) -> Option<u64> {
        let text = self.text(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.problems
                .push(format!("{name} `{text}` is not a whole number: ignored"));
        }
        number
    }

    fn sampler(&mut self, ratio: f64) -> Sampler {
        if ratio != 1.0 {
            return Sampler::parent_based(ratio);
        }
        let Some(name) = self.text("OTEL_TRACES_SAMPLER") else {
            return Sampler::parent_based(1.0);
        };
        let argument = self.text("OTEL_TRACES_SAMPLER_ARG");
        Sampler::of_env(&name, argument.as_deref()).unwrap_or_else(|problem| {
            self.problems.push(format!("{problem}: ignored"));
            Sampler::parent_based(1.0)
        })
    }

    fn propagators(&mut self) -> Propagators {
        let Some(list) = self.text("OTEL_PROPAGATORS") else {
            return Propagators::default();
        };
        let mut propagators = Propagators {
            trace_context: false,
            baggage: false,
        };
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "tracecontext" => propagators.trace_context = true,
                "baggage" => propagators.baggage = true,
                "none" => {}
                other => self.problems.push(format!(
                    "OTEL_PROPAGATORS `{other}` is not supported: use tracecontext, baggage or none"
                )),
            }
        }
        propagators
    }

    fn destination(&mut self, configured: &Telemetry) -> Destination {
        if configured.otlp_endpoint.is_some() {
            return self.collector(configured);
        }
        let named = self.text("OTEL_TRACES_EXPORTER");
        for name in named.as_deref().unwrap_or_default().split(',').map(str::trim) {
            match name {
                "none" => return Destination::Nowhere,
                "console" => return Destination::Console,
                "otlp" => return self.collector(configured),
                "" => {}
                other => self.problems.push(format!(
                    "OTEL_TRACES_EXPORTER `{other}` is not supported: use otlp, console or none"
                )),
            }
        }
        // Without any word of a collector there is none: nobody listens on a laptop.
        if self.otlp("ENDPOINT").is_some() {
            self.collector(configured)
        } else {
            Destination::Nowhere
        }
    }

    fn collector(&mut self, configured: &Telemetry) -> Destination {
        let protocol = self.protocol(configured);
        let (endpoint, complete) = if let Some(endpoint) = &configured.otlp_endpoint {
            (endpoint.clone(), false)
        } else {
            match self.otlp("ENDPOINT") {
                Some((name, endpoint)) => (endpoint, name.contains("TRACES")),
                None if protocol == OtlpProtocol::Grpc => ("http://localhost:4317".to_owned(), true),
                None => ("http://localhost:4318".to_owned(), false),
            }
        };
        let scheme_less = !endpoint.contains("://");
        let mut endpoint = if scheme_less {
            format!("http://{endpoint}")
        } else {
            endpoint
        };
        if protocol == OtlpProtocol::Http && !complete && !endpoint.trim_end_matches('/').ends_with("/v1/traces") {
            endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        }
        let mut headers: Vec<(String, String)> = configured
            .otlp_headers
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect();
        if let Some((name, list)) = self.otlp("HEADERS") {
            for (key, value) in self.pairs(&name, &list) {
                let key = key.to_ascii_lowercase();
                if !headers.iter().any(|(known, _)| *known == key) {
                    headers.push((key, value));
                }
            }
        }
        let gzip = match self.otlp("COMPRESSION") {
            None => false,
            Some((_, text)) if text == "gzip" => true,
            Some((_, text)) if text == "none" => false,
            Some((name, text)) => {
                self.problems
                    .push(format!("{name} `{text}` is not supported: use gzip or none"));
                false
            }
        };
        let timeout = match self.otlp("TIMEOUT") {
            Some((name, _)) => self.number(&name),
            None => None,
        };
        let certificate = self.otlp("CLIENT_CERTIFICATE").map(|(_, path)| PathBuf::from(path));
        let key = self.otlp("CLIENT_KEY").map(|(_, path)| PathBuf::from(path));
        if certificate.is_some() != key.is_some() {
            self.problems.push(
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY go together: ignored"
                    .to_owned(),
            );
        }
        Destination::Otlp(Otlp {
            endpoint,
            protocol,
            headers,
            timeout: Duration::from_millis(timeout.unwrap_or(10_000).clamp(1, 60_000)),
            gzip,
            certificate: self.otlp("CERTIFICATE").map(|(_, path)| PathBuf::from(path)),
            client: certificate.zip(key),
        })
    }

    /// A configured endpoint is spoken to as configured; the environment's as the environment says.
    fn protocol(&mut self, configured: &Telemetry) -> OtlpProtocol {
        if configured.otlp_endpoint.is_some() {
            return configured.otlp_protocol;
        }
        match self.otlp("PROTOCOL") {
            Some((_, text)) if text == "grpc" => OtlpProtocol::Grpc,
            Some((_, text)) if text == "http/protobuf" => OtlpProtocol::Http,
            Some((name, text)) => {
                self.problems
                    .push(format!("{name} `{text}` is not supported: use grpc or http/protobuf"));
                configured.otlp_protocol
            }
            None => configured.otlp_protocol,
        }
    }

    fn resource(&mut self, site: &str, instance: &str) -> Vec<(String, String)> {
        let mut attributes = vec![
            ("service.name".to_owned(), "causeway".to_owned()),
            ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id".to_owned(), instance.to_owned()),
            ("causeway.site".to_owned(), site.to_owned()),
        ];
        let mut set = |name: String, value: String| match attributes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => attributes.push((name, value)),
        };
        if let Some(list) = self.text("OTEL_RESOURCE_ATTRIBUTES") {
            for (name, value) in self.pairs("OTEL_RESOURCE_ATTRIBUTES", &list) {
                set(name, value);
            }
        }
        if let Some(name) = self.text("OTEL_SERVICE_NAME") {
            set("service.name".to_owned(), name);
        }
        attributes
    }

    /// `a=1,b=2`, values percent-encoded. The values may be secrets and are not told.
    fn pairs(&mut self, variable: &str, list: &str) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            match pair
                .split_once('=')
                .map(|(name, value)| (name.trim(), decode(value.trim())))
            {
                Some((name, Some(value))) if !name.is_empty() => pairs.push((name.to_owned(), value)),
                _ => self.problems.push(format!(
                    "{variable} has a part that is not `name=value` with a percent-encoded value: ignored"
                )),
            }
        }
        pairs
    }
}

fn decode(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        let digit = |byte: u8| (byte as char).to_digit(16);
        bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}
