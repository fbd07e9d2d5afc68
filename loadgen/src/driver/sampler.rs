//! What a run reads of its own process and the ResourceManager's: CPU time and memory.
//! Owns: which threads and which process count as whose. Called by: the driver's main thread, and the floor before it
//! starts. Does not: fail a run; what cannot be known is `None` or zero.
//! Invariants: a ResourceManager in this process has no memory of its own; a base is read once the server listens and
//! has come to rest, so that what it takes to start is never counted as its nodes'.

use std::time::{Duration, Instant};

use super::{CLIENT_THREAD, Target};
use crate::proc;

/// A server is given this long to listen and come to rest before the first connection.
const REST_WITHIN: Duration = Duration::from_secs(10);

/// How often its memory is looked at until then.
const REST_LOOK: Duration = Duration::from_millis(50);

/// It is at rest when so many looks in a row saw no more growth than this, bytes.
const REST_LOOKS: u32 = 4;
const REST_GROWTH_MAX: u64 = 128 * 1024;

/// CPU times at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Cpu {
    pub server: Duration,
    pub client: Duration,
    pub threads: Vec<Duration>,
}

/// Reads CPU times; adds up what dead server processes used.
#[derive(Default)]
pub(super) struct Sampler {
    pub server_before: Duration,
}

impl Sampler {
    pub(super) fn read(&self, target: &dyn Target, threads: usize) -> Cpu {
        let own = std::process::id();
        let pid = target.pid();
        let server =
            pid.map_or(Duration::ZERO, |pid| proc::cpu_time(pid, |name| target.is_server_thread(name)));
        let is_embedded = pid == Some(own);
        let client = proc::cpu_time(own, |name| !is_embedded || !target.is_server_thread(name));
        let threads = (0..threads)
            .map(|index| {
                let wanted = format!("{CLIENT_THREAD}-{index}");
                proc::cpu_time(own, |name| name == wanted)
            })
            .collect();
        Cpu { server: self.server_before + server, client, threads }
    }
}

/// Memory of a server before its first connection, bytes: waits until it listens and has stopped growing. `None` without
/// waiting where it has no process of its own, or ended: whoever connects finds that out.
pub(crate) fn memory_at_rest(target: &mut dyn Target) -> Option<u64> {
    let pid = of_its_own(target.pid())?;
    let port = target.address().port();
    let start = Instant::now();
    let (mut looks, mut least) = (0, 0);
    while start.elapsed() < REST_WITHIN {
        let rss = proc::resident_size(pid);
        if rss == 0 || target.ended().is_some() {
            return None;
        }
        if !proc::is_udp_port_bound(pid, port) {
            looks = 0;
        } else if looks == 0 || rss > least + REST_GROWTH_MAX {
            (looks, least) = (1, rss);
        } else if looks < REST_LOOKS {
            looks += 1;
        } else {
            return Some(rss);
        }
        std::thread::sleep(REST_LOOK);
    }
    None
}

/// Memory of a server with this process id now, bytes. `None` where it has no process of its own, or that is not known.
pub(crate) fn memory(pid: Option<u32>) -> Option<u64> {
    of_its_own(pid).map(proc::resident_size).filter(|rss| *rss > 0)
}

/// The server's process, unless it is this one: its memory would be the load generator's as well.
fn of_its_own(pid: Option<u32>) -> Option<u32> {
    pid.filter(|pid| *pid != std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rm::{Remote, free_address};

    #[test]
    fn this_process_is_no_server_of_its_own() {
        let mut embedded = Remote::new(free_address().unwrap(), Some(std::process::id()));
        assert_eq!((memory_at_rest(&mut embedded), memory(embedded.pid())), (None, None));
        let mut unknown = Remote::new(free_address().unwrap(), None);
        assert_eq!((memory_at_rest(&mut unknown), memory(unknown.pid())), (None, None));
        let mut gone = Remote::new(free_address().unwrap(), Some(u32::MAX));
        assert_eq!((memory_at_rest(&mut gone), memory(gone.pid())), (None, None));
    }

    #[test]
    fn a_server_is_at_rest_once_it_listens() {
        // The process is a sleeping child; the port it is waited for is bound here, in the same network.
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let address = free_address().unwrap();
        let mut target = Remote::new(address, Some(child.id()));
        let late = std::thread::Builder::new()
            .spawn(move || {
                std::thread::sleep(Duration::from_millis(400));
                std::net::UdpSocket::bind(address).unwrap()
            })
            .unwrap();
        let start = Instant::now();
        let base = memory_at_rest(&mut target);
        assert!(start.elapsed() >= Duration::from_millis(400) + REST_LOOK * REST_LOOKS);
        assert!(base.is_some_and(|base| base > 0) && memory(target.pid()).is_some(), "{base:?}");
        drop(late.join().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
