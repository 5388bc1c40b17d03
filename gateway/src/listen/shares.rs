//! How much of a limit one address may have, so that nobody takes all of it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts what addresses have under way. It is as large as what is counted, which another limit bounds.
#[derive(Debug, Default)]
pub struct Shares {
    taken: Mutex<HashMap<IpAddr, usize>>,
}

impl Shares {
    /// One more of this address; none when it has `most` already. An IPv6 client has a whole /64, which counts as one.
    pub fn take(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Share> {
        let of = network(address);
        let mut taken = self.lock();
        let count = taken.entry(of).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Share {
            shares: Arc::clone(self),
            of,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        IpAddr::V4(address) => address.into(),
    }
}

/// One of an address, until it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    of: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        if let Some(count) = taken.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_a_network_of_ipv6_is_one_address() {
        let shares = Arc::<Shares>::default();
        let take = |address: &str| shares.take(address.parse().unwrap(), 2);
        let first = take("10.0.0.1").unwrap();
        let _second = take("::ffff:10.0.0.1").unwrap();
        assert!(take("10.0.0.1").is_none());
        let _other = take("10.0.0.2").unwrap();
        drop(first);
        assert!(take("10.0.0.1").is_some(), "given back, and so is this one");

        let _six = [take("2001:db8:0:1::1").unwrap(), take("2001:db8:0:1:ffff::2").unwrap()];
        assert!(take("2001:db8:0:1::3").is_none());
        assert!(take("2001:db8:0:2::1").is_some());
    }

    #[test]
    fn nothing_is_kept_of_those_that_are_gone() {
        let shares = Arc::<Shares>::default();
        for host in 0..100 {
            drop(shares.take(IpAddr::from([10, 0, 0, host]), 1));
        }
        assert!(shares.lock().is_empty());
        assert!(shares.take(IpAddr::from([10, 0, 0, 1]), 0).is_none());
    }
}
