//! Where addresses come from: `dns:..`, `srv:..`, or written down.

use std::borrow::Cow;
use std::net::SocketAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use super::value::{LongForm, TextOr, all, is_host, whole};
use crate::model::{Discover, StaticEndpoint};
use crate::path::KeyPath;
use crate::problems::Problems;
use crate::units::brief;

/// Largest weight of an endpoint or of a destination.
pub(super) const MAX_WEIGHT: i64 = 1_000_000;
/// Written-down addresses of one service.
const MAX_ENDPOINTS: usize = 1024;

/// `endpoints` or `discover` as written.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct DiscoverFile(TextOr<Vec<TextOr<EndpointFile>>>);

impl JsonSchema for DiscoverFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Discover".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        TextOr::<Vec<TextOr<EndpointFile>>>::json_schema(generator)
    }
}

/// `{ address = "10.0.0.1:80", weight = 2, priority = 1 }` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointFile {
    /// IP address and port.
    address: Option<String>,
    /// Share of the calls relative to the others, 0 to 1000000. Default: 1.
    weight: Option<i64>,
    /// Failover tier, 0 to 65535: 0 is tried first. Default: 0.
    priority: Option<i64>,
}

impl LongForm for EndpointFile {}

impl DiscoverFile {
    pub(super) fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<Discover> {
        match self.0 {
            TextOr::Text(text) => match text.split_once(':') {
                Some(("dns", rest)) => dns(rest, at, problems),
                Some(("srv", rest)) => srv(rest, at, problems),
                _ => Some(Discover::Static(vec![plain(&text, at, problems)?])),
            },
            TextOr::Long(list) => {
                if list.is_empty() {
                    problems.add(at, "must have at least one address");
                    return None;
                }
                if list.len() > MAX_ENDPOINTS {
                    problems.add_hint(
                        at,
                        format!("must have at most {MAX_ENDPOINTS} addresses"),
                        "use DNS for more",
                    );
                    return None;
                }
                let endpoints = all(Some(list), at, |entry, at| match entry {
                    TextOr::Long(entry) => entry.parse(at, problems),
                    TextOr::Text(text) => plain(&text, at, problems),
                })?;
                if endpoints.iter().all(|endpoint| endpoint.weight == 0) {
                    problems.add_hint(at, "all weights are 0", "give at least one endpoint a weight above 0");
                    return None;
                }
                Some(Discover::Static(endpoints))
            }
        }
    }
}

impl EndpointFile {
    fn parse(self, at: &KeyPath, problems: &mut Problems) -> Option<StaticEndpoint> {
        let address = match self.address {
            Some(text) => address(&text, &at.key("address"), problems),
            None => {
                problems.missing(
                    &at.key("address"),
                    "write an IP address and a port, such as `10.0.0.1:80`",
                );
                None
            }
        };
        let weight = whole(self.weight.or(Some(1)), &at.key("weight"), 0..=MAX_WEIGHT, problems);
        let priority = whole(self.priority.or(Some(0)), &at.key("priority"), 0..=65_535, problems);
        Some(StaticEndpoint {
            address: address?,
            weight: weight?,
            priority: priority?,
        })
    }
}

fn plain(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<StaticEndpoint> {
    Some(StaticEndpoint {
        address: address(text, at, problems)?,
        weight: 1,
        priority: 0,
    })
}

fn address(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<SocketAddr> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => {
            problems.add(at, "port 0 cannot be dialled");
            None
        }
        Ok(address) => Some(address),
        Err(_) => {
            let name = text
                .rsplit_once(':')
                .filter(|(host, port)| is_host(host) && port.parse::<u16>().is_ok());
            let hint = match name {
                Some((host, _)) if host.parse::<std::net::IpAddr>().is_err() => {
                    format!("write `dns:{text}` for a name")
                }
                _ => "write `dns:name:port`, `srv:name`, or an IP address and a port such as `10.0.0.1:80`".to_owned(),
            };
            problems.add_hint(at, format!("`{}` is not an address", brief(text)), hint);
            None
        }
    }
}

fn dns(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<Discover> {
    let parts = text
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host.to_ascii_lowercase(), port.parse::<u16>().ok()?)));
    match parts {
        Some((host, port)) if port != 0 && is_host(&host) => Some(Discover::Dns { host, port }),
        _ => {
            problems.add_hint(
                at,
                format!("`dns:{}` is not a name and a port", brief(text)),
                "write `dns:name:port`, e.g. `dns:orders.internal:50051`, or `srv:name` for records with ports",
            );
            None
        }
    }
}

fn srv(text: &str, at: &KeyPath, problems: &mut Problems) -> Option<Discover> {
    let name = text.to_ascii_lowercase();
    if is_host(&name) && name.parse::<std::net::IpAddr>().is_err() {
        return Some(Discover::Srv { name });
    }
    problems.add_hint(
        at,
        format!("`srv:{}` is not a name", brief(text)),
        "write `srv:_service._proto.name` without a port, e.g. `srv:_causeway._tcp.gw.azure.acme.example`",
    );
    None
}
