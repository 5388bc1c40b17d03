//! Identities and certificates of causeway.
