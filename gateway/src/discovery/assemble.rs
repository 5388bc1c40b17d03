//! From addresses with weights to the endpoints of an answer.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use causeway_config::StaticEndpoint;

use super::Endpoint;

/// Weights of a tier are multiplied by this where it has targets of weight 0, which then get 1: "a very small chance of
/// being selected" (RFC 2782).
const BESIDE_ZERO: u32 = 100;

/// Largest factor by which weights are multiplied to divide them among the addresses of a target. The largest weight
/// still fits: 65,535 * 100 * 500 < 2^32.
const LARGEST_SHARE: u32 = 500;

/// One target of an SRV answer and its addresses.
#[derive(Clone, Debug)]
pub(super) struct SrvTarget {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) addresses: Vec<IpAddr>,
}

/// The endpoints of an A and AAAA answer.
pub(super) fn plain(host: &Arc<str>, port: u16, addresses: &[IpAddr], most: usize) -> Vec<Endpoint> {
    let endpoints = addresses
        .iter()
        .map(|ip| Endpoint {
            address: SocketAddr::new(*ip, port),
            weight: 1,
            priority: 0,
            host: Arc::clone(host),
        })
        .collect();
    ordered(endpoints, most)
}

/// The endpoints of an SRV answer. A target's share is divided among its addresses.
pub(super) fn weighted(mut targets: Vec<SrvTarget>, most: usize) -> Vec<Endpoint> {
    targets.retain(|target| !target.addresses.is_empty());
    targets.sort_by_key(|target| target.priority);
    let mut endpoints = Vec::new();
    for tier in targets.chunk_by(|a, b| a.priority == b.priority) {
        let zero = tier.iter().any(|target| target.weight == 0);
        let all_zero = tier.iter().all(|target| target.weight == 0);
        let share = tier
            .iter()
            .map(|target| u32::try_from(target.addresses.len()).unwrap_or(u32::MAX))
            .fold(1, |factor, count| lcm(factor, count).min(LARGEST_SHARE));
        for target in tier {
            let weight = match (target.weight, zero) {
                (_, _) if all_zero => 1,
                (0, _) => 1,
                (weight, true) => u32::from(weight) * BESIDE_ZERO,
                (weight, false) => u32::from(weight),
            };
            let count = u32::try_from(target.addresses.len()).unwrap_or(u32::MAX);
            endpoints.extend(target.addresses.iter().map(|ip| Endpoint {
                address: SocketAddr::new(*ip, target.port),
                weight: (weight * share / count).max(1),
                priority: target.priority,
                host: Arc::clone(&target.host),
            }));
        }
    }
    ordered(endpoints, most)
}

/// The endpoints that the configuration lists.
pub(super) fn fixed(list: &[StaticEndpoint]) -> Vec<Endpoint> {
    let endpoints = list
        .iter()
        .map(|listed| Endpoint {
            address: listed.address,
            weight: listed.weight,
            priority: listed.priority,
            host: listed.address.ip().to_string().into(),
        })
        .collect();
    ordered(endpoints, usize::MAX)
}

/// By tier, then by address, each address once, where it comes first; and no more than `most`.
fn ordered(mut endpoints: Vec<Endpoint>, most: usize) -> Vec<Endpoint> {
    endpoints.sort_by(|a, b| (a.priority, a.address, &a.host).cmp(&(b.priority, b.address, &b.host)));
    let mut seen = HashSet::new();
    endpoints.retain(|endpoint| seen.insert(endpoint.address));
    endpoints.truncate(most);
    endpoints
}

fn lcm(a: u32, b: u32) -> u32 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1)).saturating_mul(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, priority: u16, weight: u16, addresses: &[&str]) -> SrvTarget {
        SrvTarget {
            host: host.into(),
            port: 80,
            priority,
            weight,
            addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        }
    }

    fn shares(targets: Vec<SrvTarget>) -> Vec<(String, u16, u32)> {
        weighted(targets, 256)
            .into_iter()
            .map(|endpoint| (endpoint.address.ip().to_string(), endpoint.priority, endpoint.weight))
            .collect()
    }

    fn expected(list: &[(&str, u16, u32)]) -> Vec<(String, u16, u32)> {
        list.iter()
            .map(|(ip, priority, weight)| ((*ip).to_owned(), *priority, *weight))
            .collect()
    }

    #[test]
    fn srv_weights_are_shares_of_their_tier_as_rfc_2782_says() {
        #[rustfmt::skip]
        let cases = [
            (vec![target("a", 1, 60, &["10.0.0.1"]), target("b", 1, 40, &["10.0.0.2"]), target("c", 0, 7, &["10.0.0.3"])],
             expected(&[("10.0.0.3", 0, 7), ("10.0.0.1", 1, 60), ("10.0.0.2", 1, 40)])),
            // All 0: alike.
            (vec![target("a", 0, 0, &["10.0.0.1"]), target("b", 0, 0, &["10.0.0.2"])],
             expected(&[("10.0.0.1", 0, 1), ("10.0.0.2", 0, 1)])),
            // Some 0: a very small share.
            (vec![target("a", 0, 0, &["10.0.0.1"]), target("b", 0, 2, &["10.0.0.2"])],
             expected(&[("10.0.0.1", 0, 1), ("10.0.0.2", 0, 200)])),
            // Two addresses share what one has.
            (vec![target("a", 0, 10, &["10.0.0.1", "10.0.0.2"]), target("b", 0, 10, &["10.0.0.3"])],
             expected(&[("10.0.0.1", 0, 10), ("10.0.0.2", 0, 10), ("10.0.0.3", 0, 20)])),
            // A target without addresses has no share.
            (vec![target("a", 0, 10, &[]), target("b", 0, 10, &["10.0.0.3"])],
             expected(&[("10.0.0.3", 0, 10)])),
        ];
        for (targets, shared) in cases {
            assert_eq!(shares(targets.clone()), shared, "{targets:?}");
        }
    }

    #[test]
    fn an_address_in_two_tiers_stays_in_the_first_and_the_rest_is_cut_in_order() {
        let targets = vec![
            target("b", 1, 1, &["10.0.0.1", "10.0.0.2"]),
            target("a", 0, 1, &["10.0.0.2"]),
        ];
        let endpoints = weighted(targets, 256);
        assert_eq!(endpoints.len(), 2);
        assert_eq!((&*endpoints[0].host, endpoints[0].priority), ("a", 0));
        let many: Vec<IpAddr> = (0..5000u32)
            .rev()
            .map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()))
            .collect();
        let kept = plain(&"h".into(), 80, &many, 256);
        assert_eq!(kept.len(), 256);
        assert_eq!(kept[255].address.to_string(), "10.0.0.255:80");
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        let addresses: Vec<String> = (0..499).map(|n| format!("10.0.{}.{}", n / 250, n % 250)).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let targets = vec![
            target("a", 0, u16::MAX, &["10.1.0.1"]),
            target("b", 0, u16::MAX, &addresses),
            target("c", 0, 0, &["10.1.0.2"]),
        ];
        assert_eq!(weighted(targets, 1000).len(), 501);
    }
}
