//! Identities and certificates of causeway: a library, and the offline tool `causeway-pki`.

pub mod identity;

pub use identity::{Identity, IdentityError, TrustDomain};
