//! The policies of a route: what is checked, limited, kept or changed of its calls.

/// The policies that a route has configured. They run in the order of the gateway, not of the file.
///
/// One field for each, an `Option` named like its table in the file: `[routes.NAME]`. The file type and the checked
/// type of a policy are together in `file/policies/NAME.rs`.
#[derive(Clone, Debug, Default)]
pub struct Policies {}
