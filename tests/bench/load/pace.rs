//! A fixed rate: requests fall due by the clock, whatever the replies do.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use super::probe::Probe;
use crate::failure::Failure;

/// Between two looks at the clock. tokio's own timer has steps of a millisecond, which would be what is measured.
const STEP: Duration = Duration::from_micros(100);

/// Lets requests fall due at `rate` per second until it is dropped.
pub(super) async fn keep(probe: Rc<Probe>, rate: u32) {
    if let Err(error) = run(&probe, rate).await {
        probe.failed(&Failure::new(format!("timer: {error}")));
    }
}

async fn run(probe: &Probe, rate: u32) -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "it is unsound for types that do not own their descriptor; `OwnedFd` does, and the new form is unsafe"
    )]
    let timer = AsyncFd::new(timer(STEP)?)?;
    let began = Instant::now();
    let mut issued = 0;
    loop {
        let mut ready = timer.readable().await?;
        // The count of expirations is of no interest: the clock says how many are due.
        let _ = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0_u8; 8])?));
        while due(issued, rate) <= began.elapsed() {
            probe.add_due(began + due(issued, rate));
            issued += 1;
        }
    }
}

/// When request number `index` is due after the start.
fn due(index: u64, rate: u32) -> Duration {
    Duration::from_nanos((u128::from(index) * 1_000_000_000 / u128::from(rate.max(1))) as u64)
}

fn timer(step: Duration) -> io::Result<OwnedFd> {
    let timer = timerfd_create(
        TimerfdClockId::Monotonic,
        TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
    )?;
    let step = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(step.subsec_nanos()),
    };
    timerfd_settime(
        &timer,
        TimerfdTimerFlags::empty(),
        &Itimerspec {
            it_interval: step,
            it_value: step,
        },
    )?;
    Ok(timer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spread_evenly_over_a_second() {
        assert_eq!(due(0, 9_600), Duration::ZERO);
        assert_eq!(due(9_600, 9_600), Duration::from_secs(1));
        assert_eq!(due(1, 1_000), Duration::from_millis(1));
    }
}
