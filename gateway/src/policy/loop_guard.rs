//! Ends calls that go in circles: each carries the sites it has been at.

use causeway_protocols::{CallHead, FailureKind};

use crate::context::{CallContext, Caller};
use crate::error::CallError;

/// Refuses a call from another site that has been here, or at too many sites; and any that has come through here too
/// often by what `via` says.
///
/// # Errors
/// [`FailureKind::Loop`].
pub(super) fn check(head: &CallHead, cx: &CallContext) -> Result<(), CallError> {
    let via = cx.world.snapshot.config.edge.via.request;
    if via && cx.world.snapshot.pseudonym.is_loop(&head.fields) {
        return Err(CallError::new(
            FailureKind::Loop,
            "`via` says that the call came through here again and again",
        ));
    }
    let Caller::Site { .. } = &cx.caller else {
        return Ok(());
    };
    let config = &cx.world.snapshot.config;
    if cx.visited.iter().any(|site| **site == *config.site.name) {
        return Err(CallError::new(
            FailureKind::Loop,
            format!("the call has been here before, by way of {:?}", cx.visited),
        ));
    }
    if cx.visited.len() > usize::from(config.federation.max_hops) {
        return Err(CallError::new(
            FailureKind::Loop,
            format!("the call has been at {:?}", cx.visited),
        ));
    }
    Ok(())
}
