//! `causeway demo`: two sites, their certificates and backends, in one process.

pub mod backend;
