//! Configuration of causeway.
