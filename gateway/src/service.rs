//! Services: where calls are sent, and which endpoint is next.

pub mod balance;
