//! `causeway demo`: two sites, their certificates and backends, in one process; or as files, for processes of their own.

pub mod backend;
pub mod eject;
pub mod lines;
pub mod places;
pub mod sites;

#[cfg(test)]
mod tests;
