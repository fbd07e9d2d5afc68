//! The ResourceManager a run drives: an address, a child process, or one in this process.
//! Owns: the child, its certificates and its configuration in a temporary directory. Called by: the command line.
//! Does not: drive it. Invariant: the child ends with the value that owns it, and with the process that started it.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use heddle::config::{ConfigErrors, ConfigSources, RmConfig};
use heddle::metrics::Metrics;
use heddle::pki::{Authority, Identity, PkiError, Role};
use heddle::runtime::{Options, ResourceManager, StartError};
use tempfile::TempDir;
use thiserror::Error;

use crate::driver::{CLIENT_THREAD, Target};

/// Name of the certificate the simulated nodes use: it speaks for any host.
const ANY_NODE: &str = "*";

/// Threads of an embedded ResourceManager begin with this.
const RM_THREAD: &str = "rm-";

/// Setting for the file of queues.
pub const QUEUES_FILE: &str = "scheduler.queues_file";

/// Setting for containers of applications nobody knows.
pub const UNKNOWN_CONTAINERS: &str = "scheduler.unknown_containers";

/// A ResourceManager that cannot be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// Settings of the ResourceManager.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// An embedded ResourceManager did not start.
    #[error("cannot start the ResourceManager: {0}")]
    Start(#[from] StartError),
    /// Files, sockets, processes.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> TargetError {
    move |source| TargetError::Io { what, source }
}

/// A certificate authority for one run, in a directory that goes with it.
#[derive(Debug)]
pub struct EphemeralPki {
    directory: TempDir,
    authority: Authority,
}

impl EphemeralPki {
    /// A new authority with a ResourceManager's certificate on disk.
    ///
    /// # Errors
    /// No directory, or no certificates.
    pub fn create() -> Result<Self, TargetError> {
        let directory = TempDir::with_prefix("heddle-loadgen-").map_err(failed("cannot make a directory"))?;
        let authority = Authority::create("loadgen")?;
        authority.issue(Role::ResourceManager, "loadgen")?.save(directory.path(), "resourcemanager")?;
        Ok(Self { directory, authority })
    }

    /// Where the files are: `ca.pem`, `resourcemanager.pem`, `resourcemanager.key`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A user's certificate.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub fn client(&self, user: &str) -> Result<Identity, TargetError> {
        Ok(self.authority.issue(Role::Client, user)?)
    }

    /// A certificate that speaks for every node.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub fn nodes(&self) -> Result<Identity, TargetError> {
        Ok(self.authority.issue(Role::Node, ANY_NODE)?)
    }
}

/// A ResourceManager that runs somewhere already.
#[derive(Debug)]
pub struct Remote {
    address: SocketAddr,
    pid: Option<u32>,
}

impl Remote {
    /// The one at `address`. With its process id, when it is on this machine, its CPU and memory are measured.
    #[must_use]
    pub const fn new(address: SocketAddr, pid: Option<u32>) -> Self {
        Self { address, pid }
    }
}

impl Target for Remote {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pid(&self) -> Option<u32> {
        self.pid
    }

    fn is_server_thread(&self, _name: &str) -> bool {
        true
    }

    fn kill_and_restart(&mut self) -> io::Result<()> {
        Err(io::Error::other("it was not started by this run; --kill-rm-at needs --rm spawn"))
    }

    fn ended(&mut self) -> Option<String> {
        None
    }
}

/// A server in a child process: this program again, under a hidden subcommand.
#[derive(Debug)]
pub struct Spawned {
    address: SocketAddr,
    arguments: Vec<OsString>,
    program: PathBuf,
    child: Child,
    /// What the child writes on standard error.
    log: PathBuf,
}

impl Spawned {
    /// Starts this program with `arguments`; what it says goes to a file in `directory`.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(
        address: SocketAddr,
        arguments: Vec<OsString>,
        directory: &Path,
    ) -> Result<Self, TargetError> {
        let program = std::env::current_exe().map_err(failed("cannot find this program"))?;
        Self::start_program(program, address, arguments, directory)
    }

    fn start_program(
        program: PathBuf,
        address: SocketAddr,
        arguments: Vec<OsString>,
        directory: &Path,
    ) -> Result<Self, TargetError> {
        let log = directory.join("server.log");
        let child = launch(&program, &arguments, &log).map_err(failed("cannot start the server process"))?;
        Ok(Self { address, arguments, program, child, log })
    }

    /// The last lines the child wrote.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

/// The child ends when this process does: its standard input is a pipe that closes then.
fn launch(program: &Path, arguments: &[OsString], log: &Path) -> io::Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).spawn()
}

impl Target for Spawned {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pid(&self) -> Option<u32> {
        Some(self.child.id())
    }

    fn is_server_thread(&self, _name: &str) -> bool {
        true
    }

    fn kill_and_restart(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = launch(&self.program, &self.arguments, &self.log)?;
        Ok(())
    }

    fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(format!("{status}; it said:\n{}", self.last_words()))
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and the pipe closes anyway.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends this process when its standard input closes, that is, when the process that started it is gone.
///
/// # Errors
/// The watching thread cannot be started.
pub fn end_with_parent() -> io::Result<()> {
    std::thread::Builder::new()
        .name("lg-parent".to_owned())
        .spawn(|| {
            // A read gives data, the end, or an error; only data is no reason to go.
            while io::Read::read(&mut io::stdin(), &mut [0; 64]).is_ok_and(|count| count > 0) {}
            std::process::exit(0);
        })
        .map(drop)
}

/// A ResourceManager in this very process.
#[derive(Debug)]
pub struct Embedded {
    address: SocketAddr,
    manager: Option<ResourceManager>,
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(manager) = self.manager.take() {
            manager.stop();
        }
    }
}

impl Target for Embedded {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pid(&self) -> Option<u32> {
        Some(std::process::id())
    }

    fn is_server_thread(&self, name: &str) -> bool {
        name.starts_with(RM_THREAD) && !name.starts_with(CLIENT_THREAD)
    }

    fn kill_and_restart(&mut self) -> io::Result<()> {
        Err(io::Error::other("it lives in this process; --kill-rm-at needs --rm spawn"))
    }

    fn ended(&mut self) -> Option<String> {
        None
    }
}

/// A free UDP port on loopback. It is free at this moment; a server that finds it taken says so.
///
/// # Errors
/// No port.
pub fn free_address() -> Result<SocketAddr, TargetError> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("cannot find a free port"))?;
    socket.local_addr().map_err(failed("cannot find a free port"))
}

/// Settings of a ResourceManager for a run, as keys and values: no web server, the interval asked for, certificates from
/// `directory`; then `extra`, which wins.
#[must_use]
pub fn settings(
    address: SocketAddr,
    directory: &Path,
    interval_ms: u32,
    extra: &[(String, String)],
) -> Vec<(String, String)> {
    let interval_max_ms = interval_ms.max(10_000);
    let mut settings: Vec<(String, String)> = [
        ("listen.address", address.to_string()),
        ("http.address", "off".to_owned()),
        ("pki.dir", directory.display().to_string()),
        ("heartbeat.interval_ms", interval_ms.to_string()),
        ("heartbeat.interval_min_ms", interval_ms.to_string()),
        ("heartbeat.interval_max_ms", interval_max_ms.to_string()),
        ("log.level", "warn".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    // Who beats rarely is neither let go, suspected nor lost between two beats: these follow where the defaults do not do.
    let patience = [
        ("transport.idle_timeout_ms", 60_000, 3 * interval_max_ms),
        ("liveliness.suspect_after_ms", 30_000, interval_max_ms / 2 * 3),
        ("liveliness.lost_after_ms", 600_000, 3 * interval_max_ms),
    ];
    let patience = patience.into_iter().filter(|(_, default, least)| least > default);
    settings.extend(patience.map(|(key, _, least)| (key.to_owned(), least.to_string())));
    settings.extend_from_slice(extra);
    settings
}

/// Starts a ResourceManager in a child process.
///
/// # Errors
/// The process cannot be started.
pub fn spawn(
    settings: &[(String, String)],
    address: SocketAddr,
    directory: &Path,
) -> Result<Spawned, TargetError> {
    let mut arguments: Vec<OsString> = vec!["resourcemanager".into()];
    for (key, value) in settings {
        arguments.extend(["--set".into(), format!("{key}={value}").into()]);
    }
    Spawned::start(address, arguments, directory)
}

/// Starts an echo server for the floor in a child process.
///
/// # Errors
/// The process cannot be started.
pub fn spawn_echo(address: SocketAddr, directory: &Path) -> Result<Spawned, TargetError> {
    let arguments = vec![
        "echo".into(),
        "--listen".into(),
        address.to_string().into(),
        "--pki-dir".into(),
        directory.into(),
    ];
    Spawned::start(address, arguments, directory)
}

/// Starts a ResourceManager in this process.
///
/// # Errors
/// A setting, certificate, socket or thread that does not do.
pub fn embed(settings: &[(String, String)]) -> Result<Embedded, TargetError> {
    let flags = settings.iter().map(|(key, value)| (key.clone(), value.clone(), "--rm-set")).collect();
    let config = RmConfig::load(&ConfigSources { flags, ..ConfigSources::default() })?;
    let lists = config.node_lists.read().map_err(ConfigErrors::from)?;
    let options = Options::new(&config, heddle::runtime::clock::unix_time_ms(), lists);
    let manager = ResourceManager::start(&options, &config.pki.load()?, Metrics::new())?;
    Ok(Embedded { address: manager.address(), manager: Some(manager) })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn shell(script: &str, directory: &Path) -> Spawned {
        let address = free_address().unwrap();
        let arguments = vec!["-c".into(), script.into()];
        Spawned::start_program("/bin/sh".into(), address, arguments, directory).unwrap()
    }

    #[test]
    fn a_child_that_ends_tells_why() {
        let directory = TempDir::new().unwrap();
        let mut child = shell("echo the port is taken >&2; exit 3", directory.path());
        let start = Instant::now();
        let reason = loop {
            assert!(start.elapsed() < Duration::from_secs(20));
            match child.ended() {
                Some(reason) => break reason,
                None => std::thread::yield_now(),
            }
        };
        assert!(reason.contains("the port is taken") && reason.contains('3'), "{reason}");
    }

    #[test]
    fn a_killed_child_is_started_again_and_goes_with_its_owner() {
        let directory = TempDir::new().unwrap();
        let mut child = shell("read line", directory.path());
        let first = child.pid().unwrap();
        child.kill_and_restart().unwrap();
        let second = child.pid().unwrap();
        assert_ne!(first, second);
        assert_eq!(child.ended(), None);
        drop(child);
        assert!(!Path::new(&format!("/proc/{second}")).exists());
    }

    /// With nodes that beat every 31 s or more the ResourceManager refused its settings: connections would have been let
    /// go, and nodes suspected, between two beats.
    #[test]
    fn any_interval_makes_a_configuration() {
        let directory = TempDir::new().unwrap();
        let load = |interval_ms, extra: &[(String, String)]| {
            let settings = settings(free_address().unwrap(), directory.path(), interval_ms, extra);
            let flags = settings.into_iter().map(|(key, value)| (key, value, "--rm-set")).collect();
            RmConfig::load(&ConfigSources { flags, ..ConfigSources::default() })
        };
        for interval_ms in [10, 1_000, 20_000, 31_000, 60_000, 70_000, 600_000] {
            let idle = load(interval_ms, &[]).unwrap().transport.idle_timeout;
            assert!(
                idle >= Duration::from_secs(60) && idle >= Duration::from_millis(3 * u64::from(interval_ms))
            );
        }
        let idle = load(1_000, &[]).unwrap().transport.idle_timeout;
        assert_eq!(idle, Duration::from_secs(60), "the default where that does");
        let by_hand = [("transport.idle_timeout_ms".to_owned(), "150000".to_owned())];
        assert_eq!(load(70_000, &by_hand).unwrap().transport.idle_timeout, Duration::from_secs(150));
    }

    #[test]
    fn the_certificates_speak_for_any_node() {
        let pki = EphemeralPki::create().unwrap();
        assert!(
            pki.directory().join("ca.pem").exists() && pki.directory().join("resourcemanager.pem").exists()
        );
        let nodes = pki.nodes().unwrap();
        assert!(nodes.peer().allows_host("openb-node-0000") && nodes.client_crypto().is_ok());
    }
}
