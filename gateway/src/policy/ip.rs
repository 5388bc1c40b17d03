//! Which networks may call.

use std::net::IpAddr;
use std::rc::Rc;

use causeway_config::IpLists;
use causeway_protocols::FailureKind;

use super::{Admit, Policy};
use crate::call::Call;
use crate::context::CallContext;
use crate::error::CallError;
use crate::listen::address::contains;

/// Refuses clients by their address, as far as trusted proxies tell it.
#[derive(Debug)]
pub(super) struct Ip(pub(super) IpLists);

impl Policy for Ip {
    fn name(&self) -> &'static str {
        "ip"
    }

    fn admit<'a>(&'a self, _: &'a mut Call, cx: &'a Rc<CallContext>) -> Admit<'a> {
        match cx.caller.address() {
            Some(address) if may_come(&self.0, address) => Admit::Pass,
            Some(address) => refused(format!("{address} may not call")),
            None => refused("the client's address is not known".to_owned()),
        }
    }
}

fn refused<'a>(detail: String) -> Admit<'a> {
    Admit::refuse(CallError::new(FailureKind::Refused, detail))
}

/// Whether an address is let in: in no network of `deny`, and in one of `allow` if that has any.
pub fn may_come(lists: &IpLists, address: IpAddr) -> bool {
    let any = |networks: &[causeway_config::Cidr]| networks.iter().any(|network| contains(network, address));
    !any(&lists.deny) && (lists.allow.is_empty() || any(&lists.allow))
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_config::Cidr;

    fn networks(list: &[(&str, u8)]) -> Vec<Cidr> {
        let network = |(address, prefix): &(&str, u8)| Cidr {
            address: address.parse().unwrap(),
            prefix: *prefix,
        };
        list.iter().map(network).collect()
    }

    #[test]
    fn what_is_denied_stays_out_also_where_it_is_allowed() {
        let ten = [("10.0.0.0", 8)];
        let one = [("10.1.0.0", 16)];
        #[rustfmt::skip]
        let none: &[(&str, u8)] = &[];
        let table = [
            (&ten[..], none, "10.2.0.1", true),
            (&ten[..], none, "11.0.0.1", false),
            (&ten[..], &one[..], "10.1.2.3", false),
            (none, &one[..], "10.1.2.3", false),
            (none, &one[..], "192.0.2.1", true),
            (&ten[..], none, "::ffff:10.1.1.1", true),
            (&ten[..], none, "::1", false),
        ];
        for (allow, deny, address, passes) in table {
            let lists = IpLists {
                allow: networks(allow),
                deny: networks(deny),
                dry_run: false,
            };
            assert_eq!(
                may_come(&lists, address.parse().unwrap()),
                passes,
                "{address} {lists:?}"
            );
        }
    }
}
