//! The id by which logs at both sites, the backend and the client name one call: `x-request-id`.

use std::time::{SystemTime, UNIX_EPOCH};

use causeway_config::RequestIds;
use causeway_protocols::tunnel::head::MAX_REQUEST_ID;
use causeway_protocols::{Fields, name};

use super::client::Client;

/// The id of a client's call: its own where that is believed, else a new one, which then is in the fields.
pub(super) fn settle(fields: &mut Fields, client: &Client, kept: RequestIds) -> Option<Box<str>> {
    let believed = match kept {
        RequestIds::Off => return None,
        RequestIds::Any => true,
        RequestIds::Trusted => client.proxied,
    };
    let stated = fields.text(name::X_REQUEST_ID).filter(|id| believed && is_id(id));
    if let Some(id) = stated {
        return Some(id.into());
    }
    let id = new();
    put(fields, &id);
    Some(id.into())
}

/// The only one from here on.
pub fn put(fields: &mut Fields, id: &str) {
    // Visible ASCII is always taken.
    fields.set(name::X_REQUEST_ID, id.as_bytes()).ok();
}

/// What crosses tunnels.
fn is_id(text: &str) -> bool {
    (1..=MAX_REQUEST_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A UUID of version 7 (RFC 9562, section 5.7): ids of later calls sort behind.
fn new() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = since.as_millis() & 0xffff_ffff_ffff;
    let random: u128 = rand::random();
    let id = (millis << 80) | (0x7 << 76) | (random & 0x0fff_3fff_ffff_ffff_ffff) | (0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        id >> 96,
        (id >> 80) & 0xffff,
        (id >> 64) & 0xffff,
        (id >> 48) & 0xffff,
        id & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxied: bool) -> Client {
        Client {
            address: [10, 0, 0, 1].into(),
            proxied,
            scheme: None,
        }
    }

    #[test]
    fn an_id_is_kept_only_from_whom_it_is_believed() {
        #[rustfmt::skip]
        let table = [
            (RequestIds::Trusted, true, "abc", true), (RequestIds::Trusted, false, "abc", false), (RequestIds::Any, false, "abc", true),
            (RequestIds::Any, false, "a b", false), (RequestIds::Any, true, "", false), (RequestIds::Any, true, "caf\u{e9}", false),
        ];
        for (kept, proxied, id, stays) in table {
            let mut fields = Fields::new();
            fields.push(b"x-request-id", id.as_bytes()).unwrap();
            fields.push(b"x-request-id", b"second").unwrap();
            let settled = settle(&mut fields, &client(proxied), kept).unwrap();
            assert_eq!(&*settled == id, stays, "{kept:?} {id}: {settled}");
            assert_eq!(fields.text(name::X_REQUEST_ID), Some(&*settled));
        }
        let mut fields = Fields::new();
        fields.push(b"x-request-id", b"abc").unwrap();
        assert_eq!(settle(&mut fields, &client(true), RequestIds::Off), None);
        assert_eq!(fields.text(name::X_REQUEST_ID), Some("abc"));
    }

    #[test]
    fn new_ids_are_uuids_of_version_7_and_differ() {
        let ids = [new(), new()];
        assert_ne!(ids[0], ids[1]);
        for id in ids {
            assert!(is_id(&id) && id.len() == 36, "{id}");
            let parts: Vec<_> = id.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12]);
            assert_eq!(id.as_bytes()[14], b'7', "{id}");
            assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{id}");
        }
    }
}
