//! Networks and the addresses in them.

use std::net::IpAddr;

use causeway_config::Cidr;

/// Whether an address is in a network. An IPv4 address written as IPv6 is the IPv4 address.
pub fn contains(network: &Cidr, address: IpAddr) -> bool {
    match (network.address.to_canonical(), address.to_canonical()) {
        (IpAddr::V4(network_address), IpAddr::V4(address)) => same(
            u128::from(network_address.to_bits()),
            u128::from(address.to_bits()),
            32,
            network.prefix,
        ),
        (IpAddr::V6(network_address), IpAddr::V6(address)) => {
            same(network_address.to_bits(), address.to_bits(), 128, network.prefix)
        }
        _ => false,
    }
}

fn same(one: u128, other: u128, bits: u8, prefix: u8) -> bool {
    let shift = u32::from(bits.saturating_sub(prefix));
    one.checked_shr(shift).unwrap_or(0) == other.checked_shr(shift).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        #[rustfmt::skip]
        let table = [
            ("10.0.0.0", 8, "10.255.1.2", true), ("10.0.0.0", 8, "11.0.0.1", false), ("0.0.0.0", 0, "1.2.3.4", true),
            ("10.1.2.3", 32, "10.1.2.3", true), ("10.1.2.3", 32, "10.1.2.4", false), ("fd00::", 8, "fd12::1", true),
            ("fd00::", 8, "fe80::1", false), ("::", 0, "::1", true), ("10.0.0.0", 8, "::ffff:10.0.0.1", true),
            ("10.0.0.0", 8, "::1", false),
        ];
        for (network, prefix, address, inside) in table {
            let network = Cidr {
                address: network.parse().unwrap(),
                prefix,
            };
            assert_eq!(
                contains(&network, address.parse().unwrap()),
                inside,
                "{address} in {network:?}"
            );
        }
    }
}
