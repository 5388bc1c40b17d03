//! Which endpoint of a service is next.
//!
//! One balancer per service and worker; nothing is shared between threads and nothing waits. A call goes to the lowest
//! tier that has a usable endpoint, and there
//!
//! - in turn: every endpoint has a time at which it is due again, one stride after its last call; a stride is the inverse
//!   of its weight. The one that is due first is next. Turns are spread evenly (weights 5, 1, 1 give `aabacaa`, not
//!   `aaaaabc`) and begin at random, so that workers and gateways do not all begin at the same endpoint.
//! - to the less busy of two that are drawn at random by weight; busy is calls under way per weight.
//! - to the one of two that would answer sooner, by its recent times and its calls under way.
//! - to the same endpoint as calls that are alike, see `ring`.
//!
//! A change of the endpoints keeps the turn of those that stay. An endpoint that was not usable for a while does not
//! get the turns it missed. Cost: O(log n) in turn, O(log n) by draw; O(n) only after a change, or where most endpoints
//! of the tier are not usable.

mod draw;
mod ring;
mod turn;

use std::cell::Cell;

use causeway_config::Balance;

use draw::{By, Draw};
use ring::Ring;
use turn::Turn;

/// What is fixed about an endpoint until the generation changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Names the endpoint over changes of the list.
    pub key: u64,
    /// Share of the calls of its tier. 0: gets none.
    pub weight: u32,
    /// Tier; the lowest comes first.
    pub priority: u16,
}

/// The endpoints of a service as one worker sees them.
pub trait EndpointSet {
    /// Changes whenever `len` or any `shape` does.
    fn generation(&self) -> u64;
    /// Number of endpoints.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// What is fixed about one.
    fn shape(&self, index: usize) -> Shape;
    /// Whether it may be sent a call now.
    fn usable(&self, index: usize) -> bool;
    /// Calls it has under way.
    fn in_flight(&self, index: usize) -> u32;
    /// What a call to it would cost, for [`Balance::PeakEwma`]; the lower, the better.
    fn cost(&self, index: usize) -> f32;
}

/// The call that an endpoint is picked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The keys of endpoints that it has tried before.
    pub tried: &'a [u64],
    /// The same for calls that are alike.
    pub hash: u64,
    /// The tier that is asked first, where it is not the lowest.
    pub tier: Option<u16>,
}

/// Picks endpoints. See the module.
pub struct Balancer {
    balance: Balance,
    /// Taken out during a pick, so that a set that picks while it is asked cannot do harm.
    tiers: Cell<Tiers>,
    random: Random,
}

#[derive(Debug, Default)]
struct Tiers {
    /// None before the first pick.
    generation: Option<u64>,
    list: Vec<Tier>,
}

/// The endpoints of one priority.
#[derive(Debug)]
struct Tier {
    priority: u16,
    members: Vec<Member>,
    order: Order,
}

#[derive(Debug)]
enum Order {
    Turn(Turn),
    Draw(Draw, By),
    Ring(Ring),
}

/// An endpoint with a share.
#[derive(Clone, Copy, Debug)]
struct Member {
    index: usize,
    key: u64,
    weight: u32,
}

impl Balancer {
    /// A balancer that begins somewhere at random.
    pub fn new(balance: Balance) -> Self {
        Self::seeded(balance, rand::random())
    }

    fn seeded(balance: Balance, seed: u64) -> Self {
        Self {
            balance,
            tiers: Cell::default(),
            random: Random(Cell::new(seed | 1)),
        }
    }

    /// The endpoint for the next attempt, as its index in the set; none when no usable one is left.
    pub fn pick(&self, set: &impl EndpointSet, ask: &Ask<'_>) -> Option<usize> {
        let tried = ask.tried;
        let mut tiers = self.tiers.take();
        if tiers.generation != Some(set.generation()) {
            tiers = self.rebuild(tiers, set);
        }
        let pick = |tier: &mut Tier| {
            let Tier { members, order, .. } = tier;
            match order {
                Order::Turn(turn) => turn.pick(members, set, tried),
                Order::Draw(draw, by) => draw.pick(members, set, tried, *by, &self.random),
                Order::Ring(ring) => ring.pick(members, set, tried, ask.hash),
            }
        };
        let wanted = |tier: &&mut Tier| Some(tier.priority) == ask.tier;
        let picked = match ask.tier {
            Some(_) => tiers.list.iter_mut().find(wanted).and_then(pick),
            None => None,
        };
        let picked = picked.or_else(|| tiers.list.iter_mut().find_map(pick));
        self.tiers.set(tiers);
        picked
    }

    fn rebuild(&self, mut before: Tiers, set: &impl EndpointSet) -> Tiers {
        let mut shapes: Vec<(usize, Shape)> = (0..set.len())
            .map(|index| (index, set.shape(index)))
            .filter(|(_, shape)| shape.weight > 0)
            .collect();
        shapes.sort_by_key(|(_, shape)| shape.priority);
        let list = shapes
            .chunk_by(|(_, a), (_, b)| a.priority == b.priority)
            .map(|shapes| {
                let priority = shapes.first().map_or(0, |(_, shape)| shape.priority);
                let members: Vec<Member> = shapes
                    .iter()
                    .map(|(index, shape)| Member {
                        index: *index,
                        key: shape.key,
                        weight: shape.weight,
                    })
                    .collect();
                let order = match self.balance {
                    Balance::LeastRequest => Order::Draw(Draw::new(&members), By::InFlight),
                    Balance::PeakEwma => Order::Draw(Draw::new(&members), By::Cost),
                    Balance::RingHash => Order::Ring(Ring::new(&members)),
                    Balance::RoundRobin => {
                        let old = before.list.iter_mut().find(|tier| tier.priority == priority);
                        let old = old.and_then(|tier| match &mut tier.order {
                            Order::Turn(turn) => Some((std::mem::take(turn), tier.members.as_slice())),
                            Order::Draw(..) | Order::Ring(_) => None,
                        });
                        Order::Turn(Turn::new(&members, old, &self.random))
                    }
                };
                Tier {
                    priority,
                    members,
                    order,
                }
            })
            .collect();
        Tiers {
            generation: Some(set.generation()),
            list,
        }
    }
}

impl std::fmt::Debug for Balancer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Balancer")
            .field("balance", &self.balance)
            .finish_non_exhaustive()
    }
}

impl Member {
    fn is_open(&self, set: &impl EndpointSet, tried: &[u64]) -> bool {
        !tried.contains(&self.key) && set.usable(self.index)
    }
}

/// xorshift64*: fast and even enough to spread calls; nothing secret depends on it.
#[derive(Debug)]
struct Random(Cell<u64>);

impl Random {
    /// Evenly from 0 to below `end`; 0 for an `end` of 0.
    fn below(&self, end: u64) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        let scrambled = x.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(scrambled) * u128::from(end)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests;
