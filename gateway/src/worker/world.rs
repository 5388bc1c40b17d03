//! What a worker serves with, and where it says that a call goes.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use causeway_config::{self as config, Destination};
use causeway_pki::Identity;
use causeway_protocols::{CallHead, FailureKind, Length, ReplyHead, name};
use http::StatusCode;

use crate::aggregate::Ask;
use crate::call::Reply;
use crate::clock::Clock;
use crate::dispatch::{Aim, Upstream, Way};
use crate::error::CallError;
use crate::federation::{self, PeerLink};
use crate::payload::Body;
use crate::policy;
use crate::principal::Principal;
use crate::route::{self, Found};
use crate::service::Service;
use crate::snapshot::{Snapshot, Target};

/// What a worker serves with: its snapshot and what it keeps of its own for it.
#[derive(Debug)]
pub struct World {
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    pub(super) services: Vec<Rc<Service>>,
    links: Vec<Rc<PeerLink>>,
}

/// Which target of a split a call is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one that this number falls on, by weight.
    Share(u64),
    /// This one.
    Target(usize),
}

impl World {
    pub(super) fn build(
        snapshot: Arc<Snapshot>,
        before: Option<&Self>,
        clock: &Rc<Clock>,
        new_link: impl Fn(&config::Name) -> PeerLink,
    ) -> Self {
        let kept = |name: &str| {
            before.and_then(|before| before.services.iter().find(|service| *service.config().name == *name))
        };
        let services = snapshot
            .services
            .iter()
            .map(|spec| match kept(&spec.config.name) {
                Some(old) => Rc::new(Service::renewed(Arc::clone(spec), Rc::clone(clock), old)),
                None => Rc::new(Service::new(Arc::clone(spec), Rc::clone(clock))),
            })
            .collect();
        let linked =
            |peer: &config::Peer| before.and_then(|before| before.links.iter().find(|link| link.site == peer.site));
        let links = snapshot
            .config
            .peers
            .iter()
            .map(|peer| linked(peer).cloned().unwrap_or_else(|| Rc::new(new_link(&peer.site))))
            .collect();
        Self {
            snapshot,
            services,
            links,
        }
    }

    /// The tunnels to a site.
    pub fn link(&self, site: &str) -> Option<&Rc<PeerLink>> {
        self.links.iter().find(|link| *link.site == *site)
    }

    /// Where the route of a client's call leads; the head then says what is forwarded.
    ///
    /// # Errors
    /// When a rewrite makes a path that no client could ask for.
    pub fn way(
        &self,
        found: &Found<'_>,
        head: &CallHead,
    ) -> Result<(Way, Option<causeway_protocols::Target>), CallError> {
        let route = found.route;
        let bad = |error: causeway_protocols::TargetError| CallError::new(FailureKind::BadRequest, error.to_string());
        let split = match &route.to {
            Destination::Aggregate(_) => {
                let captured = route::captured(found, &head.target);
                let ask = Ask {
                    route: found.index,
                    captured,
                };
                return Ok((Way::Aggregate(ask), None));
            }
            Destination::Redirect { status, location } => {
                let location = route::location(location, route, &found.captures, &head.target).map_err(bad)?;
                return Ok((Way::Fixed(Box::new(redirect(*status, &location))), None));
            }
            Destination::Fixed { status, headers, body } => {
                return Ok((Way::Fixed(Box::new(fixed(*status, headers, body))), None));
            }
            Destination::Split(split) => split,
        };
        let target = match route.rewrite {
            Some(_) => Some(route::rewrite(route, &found.captures, &head.target).map_err(bad)?),
            None => None,
        };
        let aim = self.aim(found.index, route, split, None)?;
        Ok((Way::Service(aim), target))
    }

    /// Where a call of this route goes: to this target, if it can take calls, else to one by weight.
    ///
    /// # Errors
    /// None with a configuration that was checked.
    pub fn aim(
        &self,
        index: usize,
        route: &config::Route,
        split: &[config::WeightedTarget],
        wanted: Option<Wanted>,
    ) -> Result<Aim, CallError> {
        let nothing = || CallError::new(FailureKind::Internal, "the route leads nowhere");
        let leads = self.snapshot.targets.get(index).ok_or_else(nothing)?;
        let upstream = |at: usize| match leads.get(at)? {
            Target::Local(at) => Some(Upstream::Local(Rc::clone(self.services.get(*at)?))),
            Target::Remote(peer) => Some(Upstream::Remote {
                link: Rc::clone(self.links.get(*peer)?),
                export: config::Name::clone(&split.get(at)?.service.service),
            }),
        };
        let (chosen, others) = match split {
            [_] => (0, Vec::new()),
            _ => {
                let able = |at: usize| match leads.get(at) {
                    Some(Target::Local(at)) => self.services.get(*at).is_some_and(|service| service.is_able()),
                    Some(Target::Remote(at)) => self.links.get(*at).is_some_and(|link| link.is_up()),
                    None => false,
                };
                let chosen = match wanted {
                    Some(Wanted::Target(at)) if able(at) => Some(at),
                    Some(Wanted::Share(share)) => route::pick(split, able, share),
                    _ => route::pick(split, able, rand::random()),
                };
                let chosen = chosen.ok_or_else(nothing)?;
                (chosen, route::later(split, able, chosen))
            }
        };
        let to = upstream(chosen).ok_or_else(nothing)?;
        let total = match &to {
            Upstream::Local(service) => route.timeout.or_else(|| service.config().timeouts.total),
            Upstream::Remote { .. } => Some(route.timeout.unwrap_or(REMOTE_TOTAL)),
        };
        Ok(Aim {
            to,
            others: others.into_iter().filter_map(upstream).collect(),
            total,
            max_body: policy::max_body(Some(route), &self.snapshot.config.limits),
            route: Some(index),
        })
    }

    /// A service of this site or of a peer, by its name in the configuration.
    pub fn upstream(&self, wanted: &config::ServiceRef) -> Option<Upstream> {
        let here = &self.snapshot.config.site.name;
        match wanted.site.as_ref().filter(|site| *site != here) {
            None => {
                let at = self.snapshot.service_index.get(&wanted.service)?;
                Some(Upstream::Local(Rc::clone(self.services.get(*at)?)))
            }
            Some(site) => Some(Upstream::Remote {
                link: Rc::clone(self.link(site)?),
                export: config::Name::clone(&wanted.service),
            }),
        }
    }

    /// Whether a site may use a service, so that what it has open may go on.
    pub fn exports(&self, export: &str, site: &str, principal: Option<&Principal>) -> bool {
        let index = self.snapshot.service_index.get(export);
        let service = index.and_then(|at| self.snapshot.config.services.get(*at));
        service.is_some_and(|service| federation::export::allows(&service.export_to, site, principal))
    }

    /// Where an export leads, for a call from another site.
    ///
    /// # Errors
    /// [`FailureKind::Refused`] when it is not exported to that site, also when there is no such service: a peer does
    /// not learn what it may not use.
    pub fn exported(&self, export: &str, identity: &Identity, principal: Option<&Principal>) -> Result<Way, CallError> {
        let site = identity.site().unwrap_or_default();
        let refused = || {
            let who = principal.map_or("a caller without a name", |principal| &*principal.subject);
            let detail = format!("`{}` is not exported to site `{site}` for {who}", export.escape_debug());
            CallError::new(FailureKind::Refused, detail)
        };
        let service = self
            .snapshot
            .service_index
            .get(export)
            .and_then(|at| self.services.get(*at))
            .ok_or_else(refused)?;
        let spec = service.config();
        if !federation::export::allows(&spec.export_to, site, principal) {
            return Err(refused());
        }
        Ok(Way::Service(Aim {
            to: Upstream::Local(Rc::clone(service)),
            others: Vec::new(),
            total: spec.timeouts.total,
            max_body: policy::max_body(None, &self.snapshot.config.limits),
            route: None,
        }))
    }
}

/// Up to the reply's head, where the route says nothing.
const REMOTE_TOTAL: Duration = Duration::from_secs(30);

fn redirect(status: u16, location: &str) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::PERMANENT_REDIRECT);
    let mut head = ReplyHead::new(status, Length::Exactly(0));
    head.fields.push_known(name::LOCATION, location.as_bytes()).ok();
    Reply::whole(head, Body::Empty)
}

fn fixed(status: u16, headers: &std::collections::BTreeMap<String, String>, body: &str) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut head = ReplyHead::new(status, Length::Exactly(body.len() as u64));
    for (name, value) in headers {
        head.fields.push(name.as_bytes(), value.as_bytes()).ok();
    }
    let empty = status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    Reply::whole(
        head,
        if empty {
            Body::Empty
        } else {
            Body::Bytes(bytes::Bytes::copy_from_slice(body.as_bytes()))
        },
    )
}
