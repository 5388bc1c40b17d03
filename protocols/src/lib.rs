//! Pure protocol code of causeway.
