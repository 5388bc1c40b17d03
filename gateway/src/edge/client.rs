//! Who the client is: the other end of the connection, or what trusted proxies say.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use causeway_config::{self as config, Cidr, Forwarded};
use causeway_protocols::{CallHead, Fields, Scheme, name};

use crate::context::{CallContext, Caller};
use crate::listen::Origin;
use crate::listen::address::contains;

/// What is known of the client of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// Its address.
    pub(super) address: IpAddr,
    /// Whether a trusted proxy speaks for it.
    pub(super) proxied: bool,
    /// How it reached that proxy, if the proxy says so.
    pub(super) scheme: Option<Scheme>,
}

/// The client behind a connection. Proxies append, so the last address that is not one of theirs counts.
pub(super) fn client(origin: &Origin, fields: &Fields, config: &config::Config) -> Client {
    let peer = origin.peer.ip();
    let listener = config
        .listeners
        .iter()
        .find(|listener| *listener.name == *origin.listener);
    let proxies = listener.map_or(&[][..], |listener| &listener.trusted_proxies);
    believed(peer, fields, proxies, config.edge.forwarded)
}

fn believed(peer: IpAddr, fields: &Fields, proxies: &[Cidr], from: Forwarded) -> Client {
    let trusted = |address: IpAddr| proxies.iter().any(|network| contains(network, address));
    let mut client = Client {
        address: peer,
        proxied: trusted(peer),
        scheme: None,
    };
    if !client.proxied {
        return client;
    }
    let standard = match from {
        Forwarded::None => return client,
        Forwarded::XForwarded => false,
        Forwarded::Forwarded => true,
        Forwarded::Both => fields.has(name::FORWARDED),
    };
    if standard {
        for element in last_first(fields.all(name::FORWARDED)) {
            let Some((address, scheme)) = element_of_forwarded(element) else {
                break;
            };
            (client.address, client.scheme) = (address, scheme);
            if !trusted(address) {
                break;
            }
        }
        return client;
    }
    for element in last_first(fields.all(name::X_FORWARDED_FOR)) {
        let Some(address) = address(element) else { break };
        client.address = address;
        if !trusted(address) {
            break;
        }
    }
    client.scheme = last_first(fields.all(name::X_FORWARDED_PROTO)).next().and_then(scheme);
    client
}

/// The elements of all values of a list, the last first. A comma in quotes does not end one.
fn last_first<'a>(values: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a str> {
    let mut elements = Vec::new();
    for value in values {
        let Ok(text) = std::str::from_utf8(value) else {
            // What stands before something that nobody understands is not to be believed.
            elements.clear();
            elements.push("");
            continue;
        };
        let mut quoted = false;
        let mut split = text.split(|c: char| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        elements.extend(split.by_ref().map(str::trim));
    }
    elements.into_iter().rev()
}

/// `for` and `proto` of one element (RFC 7239, section 4). None: it names no address.
fn element_of_forwarded(element: &str) -> Option<(IpAddr, Option<Scheme>)> {
    let (mut by, mut proto) = (None, None);
    for pair in element.split(';') {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let value = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'))
            .unwrap_or(value);
        match name.trim().to_ascii_lowercase().as_str() {
            "for" => by = address(value),
            "proto" => proto = scheme(value),
            _ => {}
        }
    }
    Some((by?, proto))
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

fn scheme(text: &str) -> Option<Scheme> {
    match text.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(Scheme::Https),
        "http" | "ws" => Some(Scheme::Http),
        _ => None,
    }
}

/// States who the client is and how it came, for the backend.
pub(super) fn state(head: &mut CallHead, cx: &CallContext) {
    let said = cx.world.snapshot.config.edge.forwarded;
    let mut text = String::with_capacity(40);
    let address = cx.caller.address();
    if matches!(said, Forwarded::XForwarded | Forwarded::Both) {
        if let Some(address) = address {
            // Writing to a string cannot fail.
            let _ = write!(text, "{address}");
            head.fields.push_known(name::X_FORWARDED_FOR, text.as_bytes()).ok();
        }
        head.fields
            .push_known(name::X_FORWARDED_PROTO, head.scheme.label().as_bytes())
            .ok();
        head.fields
            .push_known(name::X_FORWARDED_HOST, head.target.authority.as_str().as_bytes())
            .ok();
    }
    if matches!(said, Forwarded::Forwarded | Forwarded::Both) {
        let value = element(address, head.target.authority.as_str(), head.scheme);
        // An authority has no character that ends a quoted string.
        head.fields.push_known(name::FORWARDED, value.as_bytes()).ok();
    }
    if let Caller::Site { identity, .. } = &cx.caller {
        head.fields
            .push(b"x-causeway-site", identity.site().unwrap_or_default().as_bytes())
            .ok();
    }
}

/// One element of `forwarded`.
fn element(address: Option<IpAddr>, host: &str, scheme: Scheme) -> String {
    let by = match address {
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => format!("\"[{address}]\""),
        None => "unknown".to_owned(),
    };
    let host = if host.is_empty() {
        String::new()
    } else {
        format!(";host=\"{host}\"")
    };
    format!("for={by}{host};proto={}", scheme.label())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Vec<Cidr> {
        vec![Cidr {
            address: "10.0.0.0".parse().unwrap(),
            prefix: 8,
        }]
    }

    fn said(peer: &str, lines: &[(&str, &str)], from: Forwarded) -> (String, Option<Scheme>) {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let client = believed(peer.parse().unwrap(), &fields, &proxies(), from);
        (client.address.to_string(), client.scheme)
    }

    #[test]
    fn only_trusted_proxies_speak_for_a_client_and_the_last_strange_address_counts() {
        let (x, f) = (Forwarded::XForwarded, Forwarded::Forwarded);
        let https = Some(Scheme::Https);
        #[rustfmt::skip]
        let table = [
            ("10.0.0.1", vec![("x-forwarded-for", "1.1.1.1, 2.2.2.2")], x, "2.2.2.2", None),
            ("10.0.0.1", vec![("x-forwarded-for", "1.1.1.1, 10.0.0.9"), ("x-forwarded-proto", "https")], x, "1.1.1.1", https),
            ("10.0.0.1", vec![("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")], x, "2.2.2.2", None),
            ("10.0.0.1", vec![("x-forwarded-for", "1.1.1.1, nonsense")], x, "10.0.0.1", None),
            ("9.0.0.1", vec![("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https")], x, "9.0.0.1", None),
            ("10.0.0.1", vec![("forwarded", "for=1.1.1.1")], x, "10.0.0.1", None),
            ("10.0.0.1", vec![("forwarded", "for=1.1.1.1, for=2.2.2.2;proto=https")], f, "2.2.2.2", https),
            ("10.0.0.1", vec![("forwarded", "For=\"[2001:db8::1]:47\";by=x;host=\"a,b\", for=10.1.1.1")], f, "2001:db8::1", None),
            ("10.0.0.1", vec![("forwarded", "for=\"[2001:db8::1]\"")], f, "2001:db8::1", None),
            ("10.0.0.1", vec![("forwarded", "for=1.1.1.1, for=unknown")], f, "10.0.0.1", None),
            ("10.0.0.1", vec![("forwarded", "for=1.1.1.1, for=_hidden")], f, "10.0.0.1", None),
            ("10.0.0.1", vec![("x-forwarded-for", "1.1.1.1")], f, "10.0.0.1", None),
            ("10.0.0.1", vec![("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2")], Forwarded::Both, "2.2.2.2", None),
            ("10.0.0.1", vec![("x-forwarded-for", "1.1.1.1")], Forwarded::Both, "1.1.1.1", None),
            ("10.0.0.1", vec![("x-forwarded-for", "1.1.1.1")], Forwarded::None, "10.0.0.1", None),
        ];
        for (peer, lines, from, address, scheme) in table {
            assert_eq!(
                said(peer, &lines, from),
                (address.to_owned(), scheme),
                "{peer} {lines:?} {from:?}"
            );
        }
    }

    #[test]
    fn an_element_of_forwarded_is_read_as_it_was_written() {
        for address in ["192.0.2.1", "2001:db8::1"] {
            let address: IpAddr = address.parse().unwrap();
            let text = element(Some(address), "api.example:8443", Scheme::Https);
            assert_eq!(
                element_of_forwarded(&text),
                Some((address, Some(Scheme::Https))),
                "{text}"
            );
        }
        assert_eq!(element_of_forwarded(&element(None, "", Scheme::Http)), None);
    }
}
