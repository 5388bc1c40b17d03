//! The calls that a worker has open: to name those that are late when the gateway stops.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use causeway_protocols::CallHead;
use http::Method;

use crate::context::{CallContext, Caller};
use crate::policy;
use crate::worker::World;

/// What a call asked for, kept to name it when it is late.
#[derive(Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The normalised path, without the query, which may hold secrets.
    pub path: Box<str>,
}

impl Asked {
    /// What this head asks for.
    pub fn of(head: &CallHead) -> Self {
        Self {
            method: head.method.clone(),
            path: head.target.path().into(),
        }
    }
}

/// The open calls of one worker: a slab, so that a call costs a push and a pop.
#[derive(Debug, Default)]
pub struct OpenCalls {
    places: RefCell<Places>,
}

#[derive(Debug, Default)]
struct Places {
    calls: Vec<Option<Weak<CallContext>>>,
    free: Vec<usize>,
}

impl OpenCalls {
    /// Enters a call; it leaves when its context is dropped.
    pub fn enter(&self, call: &Rc<CallContext>) {
        let places = &mut *self.places.borrow_mut();
        let weak = Some(Rc::downgrade(call));
        let place = match places.free.pop() {
            Some(place) => place,
            None => {
                places.calls.push(None);
                places.calls.len() - 1
            }
        };
        if let Some(free) = places.calls.get_mut(place) {
            *free = weak;
            call.place.set(Some(place));
        }
    }

    /// The context of the call at this place is being dropped.
    pub fn leave(&self, place: usize) {
        let places = &mut *self.places.borrow_mut();
        if let Some(taken) = places.calls.get_mut(place)
            && taken.take().is_some()
        {
            places.free.push(place);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        let places = self.places.borrow();
        places.calls.len() - places.free.len()
    }

    /// Ends the streams that this configuration would not let in any more.
    pub fn recheck(&self, world: &World) {
        let open: Vec<_> = self.places.borrow().calls.iter().flatten().cloned().collect();
        if open.is_empty() {
            return;
        }
        let routes: HashMap<_, _> = (world.snapshot.config.routes.iter().enumerate())
            .map(|(index, route)| (&*route.name, index))
            .collect();
        for call in open.iter().filter_map(Weak::upgrade) {
            if let Err(error) = policy::holds(&call, world, &routes) {
                tracing::debug!(path = %call.asked.path, %error, "stream ended by a new configuration");
                call.stop(error.broken());
            }
        }
    }

    /// Names every open call in the log: they are about to be cut.
    pub fn name_late(&self) {
        let open: Vec<_> = self.places.borrow().calls.iter().flatten().cloned().collect();
        for call in open.iter().filter_map(Weak::upgrade) {
            let age = call.started.elapsed();
            let snapshot = &call.world.snapshot;
            let record = call.record.borrow();
            let route = record.route().and_then(|index| snapshot.config.routes.get(index));
            let (route, site) = match &call.caller {
                Caller::Client { .. } => (route.map_or("-", |route| &*route.name), "-"),
                Caller::Site { identity, export, .. } => (&**export, identity.site().unwrap_or("-")),
            };
            tracing::warn!(
                method = %call.asked.method,
                path = %call.asked.path,
                protocol = ?call.protocol,
                route,
                site,
                age_ms = age.as_millis(),
                "call cut: it did not end before the deadline of the drain"
            );
        }
    }
}
