//! Ends calls that go in circles: each carries the sites it has been at.

use causeway_protocols::FailureKind;

use crate::context::{CallContext, Caller};
use crate::error::CallError;

/// Refuses a call from another site that has been here, or at too many sites.
///
/// # Errors
/// [`FailureKind::Loop`].
pub(super) fn check(cx: &CallContext) -> Result<(), CallError> {
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
