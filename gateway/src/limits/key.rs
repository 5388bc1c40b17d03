//! What a call is counted under, as a keyed hash: nothing of a client is kept, and no client can choose its place.

use std::hash::Hasher;
use std::net::IpAddr;

use causeway_config::LimitKey;
use causeway_protocols::{CallHead, name};

use crate::context::CallContext;
use crate::route::parameter;

/// Feeds what the call is counted under to `hasher`. Calls that lack it are counted together.
pub fn feed(hasher: &mut impl Hasher, key: &LimitKey, head: &CallHead, cx: &CallContext) {
    match key {
        LimitKey::Address { ipv6_prefix } => address(hasher, cx.caller.address(), *ipv6_prefix),
        LimitKey::Identity => match cx.principal.get() {
            Some(principal) => {
                hasher.write_u8(b'i');
                hasher.write(principal.key().as_bytes());
            }
            None => address(hasher, cx.caller.address(), 64),
        },
        LimitKey::Plan => {
            let plan = cx.principal.get().and_then(|principal| principal.plan.as_deref());
            text(hasher, plan.map(str::as_bytes));
        }
        // The rule's own name tells routes apart, or joins them.
        LimitKey::Route | LimitKey::Site => {}
        LimitKey::Header(header) => text(hasher, head.fields.get_named(header)),
        LimitKey::Cookie(wanted) => text(hasher, cookie(head, wanted)),
        LimitKey::Query(wanted) => {
            let value = head.target.query().and_then(|query| parameter(query, wanted));
            text(hasher, value.as_deref());
        }
    }
}

/// An address, of IPv6 only the network that one client has.
pub fn address(hasher: &mut impl Hasher, address: Option<IpAddr>, ipv6_prefix: u8) {
    match address.map(|address| address.to_canonical()) {
        None => hasher.write_u8(b'-'),
        Some(IpAddr::V4(address)) => {
            hasher.write_u8(b'4');
            hasher.write_u32(address.to_bits());
        }
        Some(IpAddr::V6(address)) => {
            let host = 128u32.saturating_sub(u32::from(ipv6_prefix));
            hasher.write_u8(b'6');
            hasher.write_u128(address.to_bits().checked_shr(host).unwrap_or(0));
        }
    }
}

fn text(hasher: &mut impl Hasher, value: Option<&[u8]>) {
    match value {
        None => hasher.write_u8(b'-'),
        Some(value) => {
            hasher.write_u8(b'v');
            hasher.write(value);
        }
    }
}

/// The first cookie of this name (RFC 6265, section 4.2.1).
fn cookie<'a>(head: &'a CallHead, wanted: &str) -> Option<&'a [u8]> {
    let pairs = head
        .fields
        .all(name::COOKIE)
        .flat_map(|field| field.split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let (key, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
        (key.trim_ascii() == wanted.as_bytes()).then(|| value[1..].trim_ascii())
    });
    values.next()
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use super::*;

    fn of(text: &str, prefix: u8) -> u64 {
        let mut hasher = DefaultHasher::new();
        address(&mut hasher, Some(text.parse().unwrap()), prefix);
        hasher.finish()
    }

    #[test]
    fn r1_hopping_inside_an_ipv6_network_changes_nothing() {
        #[rustfmt::skip]
        let table = [
            ("2001:db8::1", "2001:db8::ffff:1", 64, true), ("2001:db8::1", "2001:db8:0:0:ffff::", 64, true),
            ("2001:db8::1", "2001:db8:0:1::1", 64, false), ("2001:db8::1", "2001:db8:0:1::1", 48, true),
            ("2001:db8::1", "2001:db8::2", 128, false), ("10.0.0.1", "::ffff:10.0.0.1", 64, true),
            ("10.0.0.1", "10.0.0.2", 64, false), ("::", "0.0.0.0", 32, false),
        ];
        for (one, other, prefix, same) in table {
            assert_eq!(of(one, prefix) == of(other, prefix), same, "{one} {other}/{prefix}");
        }
    }
}
