//! Which addresses an answer may hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// AWS serves instance metadata, and with it credentials, at this address too.
const AWS_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Whether a backend can be there. Link-local addresses are where clouds serve instance metadata (169.254.169.254);
/// private and loopback addresses are allowed, for backends are there.
pub(super) fn is_allowed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_allowed_v4(v4),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => is_allowed_v4(v4),
            None => !(v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local() || v6 == AWS_METADATA),
        },
    }
}

fn is_allowed_v4(v4: Ipv4Addr) -> bool {
    // 0.0.0.0/8 is "this host" (RFC 1122, section 3.2.1.3).
    !(v4.octets()[0] == 0 || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast())
}

/// The IPv4 address that is meant: mapped (`::ffff:0:0/96`), compatible (`::/96`) or by NAT64 (`64:ff9b::/96`).
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    if v6.is_unspecified() || v6.is_loopback() {
        return None;
    }
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s14_metadata_and_nonsense_addresses_are_refused_in_every_spelling() {
        for refused in [
            "169.254.169.254",
            "169.254.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
        ] {
            assert!(!is_allowed(refused.parse().unwrap()), "{refused}");
        }
        for allowed in [
            "127.0.0.1",
            "::1",
            "10.0.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "8.8.8.8",
            "fd00::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_allowed(allowed.parse().unwrap()), "{allowed}");
        }
    }
}
