//! Who at other sites may use a service.

use causeway_config::Export;

use crate::context::CallContext;

/// Whether one of the exports lets this call in. An export that names callers lets in nobody whose name is not known.
pub fn allows(exports: &[Export], site: &str, _cx: &CallContext) -> bool {
    exports
        .iter()
        .any(|export| *export.site == *site && export.callers.is_empty())
}
