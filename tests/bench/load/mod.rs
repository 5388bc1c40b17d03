//! The load: closed loop or fixed rate, one thread, and what came of it.

mod grpc;
mod http1;
mod idle;
mod pace;
mod probe;
mod socket;
mod websocket;

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backend;
use crate::cases::Work;
use crate::failure::{During, Failure, Result};
use crate::histogram::Histogram;
use crate::measure::{Usage, usage};
use probe::Probe;

pub(crate) use http1::Connections;
pub(crate) use idle::{Idle, IdleCost, open as open_idle};

/// Where the gateway under test listens, on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) http: u16,
    pub(crate) grpc: u16,
}

/// How hard and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    /// gRPC: HTTP/2 connections that the streams are spread over.
    pub(crate) http2_connections: usize,
    /// Requests per second; none: as fast as the replies come.
    pub(crate) rate: Option<u32>,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    /// How long one connection alone is measured afterwards.
    pub(crate) alone: Duration,
}

/// What one run gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Requests, or messages of a stream, that ended within the window.
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    /// Processor seconds of the gateways within the window.
    pub(crate) user: f64,
    pub(crate) system: f64,
    pub(crate) rss_kib: u64,
    pub(crate) latency: Histogram,
    /// Of one connection alone.
    pub(crate) alone: Option<Histogram>,
    pub(crate) failures: u64,
    pub(crate) first_failure: Option<String>,
}

/// Waits until the gateway answers `work` at all.
///
/// # Errors
/// After ten seconds, with the last reason.
pub(crate) async fn wait_ready(work: Work, entry: Entry) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let attempt = tokio::time::timeout(Duration::from_secs(2), check(work, entry)).await;
        match attempt
            .map_err(|_| Failure::new("no answer within 2 s"))
            .and_then(|answer| answer)
        {
            Ok(()) => return Ok(()),
            Err(failure) if Instant::now() >= end => return Err(failure),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// One exchange, its content compared byte for byte.
async fn check(work: Work, entry: Entry) -> Result<()> {
    match work {
        Work::Get { path, length, .. } => http1::check_get(entry.http, path, length).await,
        Work::GrpcChat | Work::GrpcDownload | Work::GrpcUnary => grpc::check(entry.grpc, work).await,
        Work::Json => http1::check_json(entry.http).await,
        Work::Upload => http1::check_upload(entry.http).await,
        Work::WebSocket => websocket::check(entry.http).await,
    }
}

/// Runs `work` against the gateway whose processes are `gateways`.
pub(crate) async fn run(work: Work, entry: Entry, plan: Plan, gateways: &[u32]) -> Result<Outcome> {
    let probe = Probe::new();
    let mut tasks = JoinSet::new();
    spawn(
        &mut tasks,
        &probe,
        work,
        entry,
        plan.connections,
        plan.http2_connections,
    );
    match plan.rate {
        Some(rate) => drop(tasks.spawn_local(pace::keep(Rc::clone(&probe), rate))),
        None => probe.unpaced(),
    }
    tokio::time::sleep(plan.warm_up).await;

    probe.open_window();
    let (began, before) = (Instant::now(), used(gateways)?);
    tokio::time::sleep(plan.window).await;
    let (after, seconds) = (used(gateways)?, began.elapsed().as_secs_f64());
    let window = probe.close_window();
    tasks.shutdown().await;

    let alone = if plan.alone.is_zero() {
        None
    } else {
        Some(run_alone(work, entry, plan).await)
    };
    let lone_failures = alone.as_ref().map_or(0, |(_, failures)| *failures);
    Ok(Outcome {
        requests: window.requests,
        seconds,
        user: after.user - before.user,
        system: after.system - before.system,
        rss_kib: after.rss_kib,
        latency: window.latency,
        alone: alone.map(|(latency, _)| latency),
        failures: window.failures + lone_failures,
        first_failure: window.first_failure,
    })
}

/// The latency that one connection sees when it is alone.
async fn run_alone(work: Work, entry: Entry, plan: Plan) -> (Histogram, u64) {
    let probe = Probe::new();
    let mut tasks = JoinSet::new();
    spawn(&mut tasks, &probe, work, entry, 1, 1);
    probe.unpaced();
    tokio::time::sleep(plan.alone / 5).await;
    probe.open_window();
    tokio::time::sleep(plan.alone).await;
    let window = probe.close_window();
    tasks.shutdown().await;
    (window.latency, window.failures)
}

fn used(gateways: &[u32]) -> Result<Usage> {
    usage(gateways).during("measuring the gateways")
}

fn spawn(tasks: &mut JoinSet<()>, probe: &Rc<Probe>, work: Work, entry: Entry, count: usize, http2: usize) {
    match work {
        Work::Get {
            path,
            length,
            connections,
        } => {
            for index in 0..count {
                tasks.spawn_local(http1::get(
                    Rc::clone(probe),
                    entry.http,
                    path,
                    length,
                    connections,
                    index,
                ));
            }
        }
        Work::GrpcChat | Work::GrpcDownload | Work::GrpcUnary => {
            let http2 = http2.clamp(1, count);
            for index in 0..http2 {
                let streams = count / http2 + usize::from(index < count % http2);
                tasks.spawn_local(grpc::connection(Rc::clone(probe), entry.grpc, work, streams));
            }
        }
        Work::Json => {
            for _ in 0..count {
                tasks.spawn_local(http1::json(Rc::clone(probe), entry.http));
            }
        }
        Work::Upload => {
            for _ in 0..count {
                tasks.spawn_local(http1::upload(Rc::clone(probe), entry.http));
            }
        }
        Work::WebSocket => {
            for _ in 0..count {
                tasks.spawn_local(websocket::echo(Rc::clone(probe), entry.http));
            }
        }
    }
}

/// Bytes of one upload.
const UPLOAD: usize = backend::LARGE.1;
