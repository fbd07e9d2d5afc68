//! What the kernel says about processes and the machine: CPU time, memory, lost datagrams.
//! Owns: reading `/proc`. Called by: the driver's main thread, once a second. Thread: any.
//! Does not: fail a run: what cannot be read counts as 0 and the report says so.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// CPU time a process used so far, all its threads that live. `is_meant` chooses threads by name.
#[must_use]
pub fn cpu_time(pid: u32, is_meant: impl Fn(&str) -> bool) -> Duration {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let mut total_ns = 0;
    for task in tasks.flatten() {
        let path = task.path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if is_meant(name.trim_end()) {
            // First number of schedstat: nanoseconds on a CPU.
            let text = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            total_ns += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Duration::from_nanos(total_ns)
}

/// Resident memory of a process, bytes.
#[must_use]
pub fn resident_size(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib =
        line.and_then(|rest| rest.trim().strip_suffix(" kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

/// Whether a UDP socket in the network `pid` lives in is bound to `port`, whoever's it is.
#[must_use]
pub fn is_udp_port_bound(pid: u32, port: u16) -> bool {
    ["udp", "udp6"].iter().any(|table| {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        // "  12: 0100007F:1F5F 00000000:0000 07 …": the second word is the local address and port, hexadecimal.
        text.lines().any(|line| {
            let local = line.split_ascii_whitespace().nth(1).and_then(|word| word.rsplit_once(':'));
            local.is_some_and(|(_, bound)| u16::from_str_radix(bound, 16) == Ok(port))
        })
    })
}

/// Datagrams the machine threw away because a socket's buffer was full, since boot.
#[must_use]
pub fn udp_receive_buffer_errors() -> u64 {
    let mut total = 0;
    let text = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    if let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let pair = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "RcvbufErrors");
        total += pair.and_then(|(_, value)| value.parse::<u64>().ok()).unwrap_or(0);
    }
    let text = fs::read_to_string("/proc/net/snmp6").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("Udp6RcvbufErrors"));
    total + value.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
}

/// The machine a report was made on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Cores this process may use.
    pub cpus: u32,
    /// Their model.
    pub cpu_model: String,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// System and its version.
    pub system: String,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu_model = cpuinfo
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split_once(": "))
            .map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, model)| model.trim().to_owned());
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory_kib = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .and_then(|kib| kib.trim().parse::<u64>().ok());
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
            cpu_model,
            memory_bytes: memory_kib.unwrap_or(0) * 1_024,
            system: format!("Linux {}", release.trim()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let pid = std::process::id();
        let before = cpu_time(pid, |_| true);
        let mut sum = 0_u64;
        while cpu_time(pid, |_| true) < before + Duration::from_millis(5) {
            sum = std::hint::black_box((0..100_000_u64).fold(sum, u64::wrapping_add));
        }
        assert_eq!(cpu_time(pid, |_| false), Duration::ZERO);
        assert!(resident_size(pid) > 1 << 20);
        assert_eq!(resident_size(u32::MAX), 0);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(is_udp_port_bound(pid, port) && !is_udp_port_bound(u32::MAX, port));
        drop(socket);
        assert!(!is_udp_port_bound(pid, port));
        assert!(Machine::read().memory_bytes > 1 << 20);
    }
}
