//! A finer clock for the tick than the runtime's timer, whose millisecond would be most of a good answer's latency.
//! Owns: [`Alarm`]. Called by: a client thread's tick, on its thread. Does not: know what is due.
//! Invariants: it never sleeps longer than asked by more than the machine's own wake-up takes; where the operating system
//! has no such timer, and on its errors, the runtime's millisecond does.

use std::time::Duration;

/// See the module.
pub(super) struct Alarm {
    #[cfg(target_os = "linux")]
    timer: Option<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>>,
}

impl Alarm {
    /// Has to be made on the runtime it waits on.
    pub(super) fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            timer: fine::timer().ok(),
        }
    }

    /// Waits so long; other tasks run meanwhile.
    pub(super) async fn wait(&self, wait: Duration) {
        #[cfg(target_os = "linux")]
        if let Some(timer) = &self.timer
            && fine::wait(timer, wait).await.is_ok()
        {
            return;
        }
        tokio::time::sleep(wait).await;
    }
}

#[cfg(target_os = "linux")]
mod fine {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    #[allow(
        deprecated,
        reason = "its successor is unsafe for types that may change descriptors; an OwnedFd does not"
    )]
    pub(super) fn timer() -> io::Result<AsyncFd<OwnedFd>> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        AsyncFd::with_interest(timer, Interest::READABLE)
    }

    pub(super) async fn wait(timer: &AsyncFd<OwnedFd>, wait: Duration) -> io::Result<()> {
        // A time of zero would disarm it.
        let wait = wait.max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(wait).map_err(io::Error::other)?,
        };
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
        let mut expirations = [0; 8];
        timer
            .async_io(Interest::READABLE, |timer| Ok(rustix::io::read(timer, &mut expirations)?))
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_as_long_as_asked_and_can_be_asked_again() {
        let alarm = Alarm::new();
        for wait_us in [0, 200, 3_000] {
            let began = std::time::Instant::now();
            alarm.wait(Duration::from_micros(wait_us)).await;
            assert!(began.elapsed() >= Duration::from_micros(wait_us), "{wait_us}");
        }
    }
}
