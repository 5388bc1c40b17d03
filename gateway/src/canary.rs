//! Who gets which service of a split: those that a target has asked for, and callers that stay with what they had.
//!
//! It comes after the policies that admit, because a claim or an identity has to be proven first; the cache comes behind
//! it, and keeps the replies of each service apart.

use std::hash::{Hash, Hasher};

use causeway_config::{self as config, Destination, WeightedTarget};
use causeway_protocols::{CallHead, Fields, ReplyHead, name};

use crate::context::CallContext;
use crate::dispatch::Way;
use crate::error::CallError;
use crate::worker::Wanted;

/// What a client is told so that it stays.
#[derive(Debug)]
pub struct Stay(String);

impl Stay {
    /// Tells it.
    pub fn tell(&self, head: &mut ReplyHead) {
        head.fields.push_known(name::SET_COOKIE, self.0.as_bytes()).ok();
    }
}

/// Turns a call to the target that it is to have, where the route says more than weights.
///
/// # Errors
/// None with a configuration that was checked.
pub fn aim(way: &mut Way, head: &CallHead, cx: &CallContext) -> Result<Option<Stay>, CallError> {
    let (Way::Service(aim), Some(index)) = (&mut *way, cx.route.get()) else {
        return Ok(None);
    };
    let Some(route) = cx.world.snapshot.config.routes.get(index) else {
        return Ok(None);
    };
    let Destination::Split(split) = &route.to else {
        return Ok(None);
    };
    if split.len() < 2 {
        return Ok(None);
    }
    if let Some(at) = split.iter().position(|target| is_wanted(target, head, cx)) {
        *aim = cx.world.aim(index, route, split, Some(Wanted::Target(at)))?;
        return Ok(None);
    }
    let share = |text: &[u8]| Some(Wanted::Share(share(&route.name, text)));
    let address = || {
        cx.caller
            .address()
            .map(|address| address.to_string())
            .unwrap_or_default()
    };
    match &route.policies.sticky {
        None => Ok(None),
        Some(config::Sticky::Address) => {
            *aim = cx.world.aim(index, route, split, share(address().as_bytes()))?;
            Ok(None)
        }
        Some(config::Sticky::Identity) => {
            let who = cx.principal.get().map_or_else(address, |principal| principal.key());
            *aim = cx.world.aim(index, route, split, share(who.as_bytes()))?;
            Ok(None)
        }
        Some(config::Sticky::Cookie { name, ttl }) => {
            let had = cookie(&head.fields, name).and_then(|value| {
                split
                    .iter()
                    .position(|target| target.weight > 0 && label(target).as_bytes() == value)
            });
            if let Some(at) = had {
                *aim = cx.world.aim(index, route, split, Some(Wanted::Target(at)))?;
                // Where it cannot take calls, another does for now, and the client comes back to it.
                return Ok(None);
            }
            // Drawn here, so that the cookie names what the draw means, whatever is down at the moment.
            let Some(at) = crate::route::pick(split, |_| true, rand::random()) else {
                return Ok(None);
            };
            *aim = cx.world.aim(index, route, split, Some(Wanted::Target(at)))?;
            let age = ttl.map_or_else(String::new, |ttl| format!("; Max-Age={}", ttl.as_secs()));
            let secure = if head.scheme == causeway_protocols::Scheme::Https {
                "; Secure"
            } else {
                ""
            };
            let value = split.get(at).map(label).unwrap_or_default();
            Ok(Some(Stay(format!(
                "{name}={value}; Path=/; HttpOnly; SameSite=Lax{age}{secure}"
            ))))
        }
    }
}

/// How a cookie names a target: no byte of a name means anything in a cookie.
fn label(target: &WeightedTarget) -> String {
    match &target.service.site {
        Some(site) => format!("{}@{site}", target.service.service),
        None => target.service.service.to_string(),
    }
}

fn is_wanted(target: &WeightedTarget, head: &CallHead, cx: &CallContext) -> bool {
    let Some(canary) = &target.canary else { return false };
    let fits =
        |part: &config::CanaryPart, value: &[u8]| part.value.as_ref().is_none_or(|want| want.as_bytes() == value);
    let header = canary.header.as_ref().is_some_and(|part| {
        let mut fields = head.fields.iter().filter(|field| field.name.as_str() == part.name);
        fields.any(|field| fits(part, field.value))
    });
    let cookie = || {
        let part = canary.cookie.as_ref();
        part.is_some_and(|part| cookie(&head.fields, &part.name).is_some_and(|value| fits(part, value)))
    };
    let claim = || {
        let part = canary.claim.as_ref();
        part.zip(cx.principal.get())
            .is_some_and(|(part, principal)| match principal.claims.get(&part.name) {
                None | Some(serde_json::Value::Null | serde_json::Value::Bool(false)) => false,
                Some(serde_json::Value::String(text)) => fits(part, text.as_bytes()),
                Some(serde_json::Value::Array(list)) => list
                    .iter()
                    .filter_map(|one| one.as_str())
                    .any(|text| fits(part, text.as_bytes())),
                Some(other) => fits(part, other.to_string().as_bytes()),
            })
    };
    header || cookie() || claim()
}

/// The first cookie of this name (RFC 6265, section 4.2).
fn cookie<'a>(fields: &'a Fields, name: &str) -> Option<&'a [u8]> {
    let pairs = fields
        .all(name::COOKIE)
        .flat_map(|value| value.split(|byte| *byte == b';'));
    pairs
        .map(<[u8]>::trim_ascii)
        .find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// Where a caller falls among all shares of a route: the same at each gateway and after each restart. A share that grows
/// takes callers over, and moves no others.
fn share(route: &str, who: &[u8]) -> u64 {
    // Fixed keys: the point is that everybody gets the same number. Who wants another version may ask from elsewhere.
    let mut hasher = StableHash::default();
    route.hash(&mut hasher);
    who.hash(&mut hasher);
    hasher.finish()
}

/// FNV-1a with a finish that spreads it over the high bits, which is where shares are cut.
struct StableHash(u64);

impl Default for StableHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for StableHash {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests;
