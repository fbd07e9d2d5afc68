//! The binary as an operator uses it: certificates, start, node commands, metrics, stop.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use heddle::pki::Identity;
use heddle_wire::record::{NodeAction, NodeId};

use crate::cluster::block_on;
use crate::peer::{PATIENCE, Peer, heartbeat};

fn heddle(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heddle")).args(arguments).current_dir(folder).output().unwrap()
}

fn success(folder: &Path, arguments: &[&str]) -> String {
    let output = heddle(folder, arguments);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "heddle {arguments:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: heddle\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Where its log is kept.
const LOG: &str = "rm.log";

/// Starts a ResourceManager of two shards and waits until it says where it listens: for nodes, for scrapers.
fn start(folder: &Path, listen: &str) -> (Running, SocketAddr, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_heddle"))
        .args(["resourcemanager", "--listen", listen, "--set", "http.address=127.0.0.1:0"])
        .args(["--set", "runtime.engine_threads=2"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.join(LOG)).unwrap())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let running = Running(child);
    let (mut door, mut http) = (None::<SocketAddr>, None::<SocketAddr>);
    let mut lines = BufReader::new(stdout).lines();
    while door.is_none() || http.is_none() {
        let line = lines.next().expect("it ended before it said where it listens").unwrap();
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some(("quic", address)) => door = address.parse().ok(),
                Some(("http", address)) => http = address.parse().ok(),
                _ => {}
            }
        }
    }
    (running, door.unwrap(), http.unwrap())
}

/// A ResourceManager that was killed comes back on its port. Peers of the one before are told at once that their
/// connections are gone; they used to find out by timers of seconds, because nobody could make a reset they believe.
#[test]
fn peers_of_a_killed_resourcemanager_are_reset_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    success(folder, &["pki", "init"]);
    success(folder, &["pki", "issue", "node", "n1"]);
    let pki = folder.join("pki");
    let identity = Identity::load(&pki.join("n1.pem"), &pki.join("n1.key"), &pki.join("ca.pem")).unwrap();
    let (first, door, _) = start(folder, "127.0.0.1:0");
    block_on(async {
        heddle::pki::install_crypto_provider();
        let mut node = Peer::connect(door, &identity).await;
        let handle = node.register(NodeId::new("n1", 1)).await.node_handle;
        node.beat(handle, 0).await;
        // SIGKILL: no goodbye.
        drop(first);
        let (second, _, _) = start(folder, &door.to_string());
        let mut bytes = Vec::new();
        heddle_wire::write_frame(&mut bytes, heddle_wire::Flags::REQUEST, 1, handle.0, &heartbeat(handle, 1));
        node.send(&bytes).await;
        assert_eq!(node.connection.closed().await, quinn::ConnectionError::Reset);
        let mut again = Peer::connect(door, &identity).await;
        assert_eq!(again.beat(handle, 1).await.node_action, NodeAction::Resync);
        drop(second);
    });
}

#[test]
fn an_operator_starts_it_looks_at_nodes_and_stops_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    success(folder, &["pki", "init"]);
    success(folder, &["pki", "issue", "node", "n1"]);

    let (mut running, door, http) = start(folder, "127.0.0.1:0");

    let pki = folder.join("pki");
    let identity = Identity::load(&pki.join("n1.pem"), &pki.join("n1.key"), &pki.join("ca.pem")).unwrap();
    let rm = door.to_string();
    block_on(async {
        heddle::pki::install_crypto_provider();
        let mut node = Peer::connect(door, &identity).await;
        let handle = node.register(NodeId::new("n1", 45_454)).await.node_handle;
        assert_eq!(node.beat(handle, 0).await.node_action, NodeAction::Normal);

        let table = success(folder, &["node", "list", "--rm-address", &rm]);
        assert!(
            table.contains("Total Nodes:1") && table.contains("n1:45454") && table.contains("RUNNING"),
            "{table}"
        );
        let json: serde_json::Value =
            serde_json::from_str(&success(folder, &["node", "list", "--rm-address", &rm, "-o", "json"]))
                .unwrap();
        assert!(json.to_string().contains("n1:45454"), "{json}");
        let status = success(folder, &["node", "status", "n1:45454", "--rm-address", &rm]);
        assert!(status.contains("Node-State") && status.contains("RUNNING"), "{status}");

        let health = get(http, "/health");
        assert!(health.starts_with("HTTP/1.1 200"), "{health}");
        let deadline = Instant::now() + PATIENCE;
        while !get(http, "/metrics").contains("heddle_nodes{state=\"RUNNING\"} 1.0") {
            assert!(Instant::now() < deadline, "{}", get(http, "/metrics"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        success(folder, &["node", "decommission", "n1:45454", "--rm-address", &rm]);
        let table = success(folder, &["node", "list", "--all", "--rm-address", &rm]);
        assert!(table.contains("DECOMMISSIONED"), "{table}");
        assert_ne!(node.beat(handle, 1).await.node_action, NodeAction::Normal);
    });
    let missing = heddle(folder, &["node", "status", "n2:1", "--rm-address", &rm]);
    assert_eq!(missing.status.code(), Some(3), "{}", String::from_utf8_lossy(&missing.stderr));

    let pid = rustix::process::Pid::from_raw(i32::try_from(running.0.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = running.0.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not stop on SIGTERM");
        std::thread::yield_now();
    };
    assert_eq!(status.code(), Some(0));
    // Each shard's part of a call was a line of its own, and none named the nodes.
    let log = std::fs::read_to_string(folder.join(LOG)).unwrap();
    let audit: Vec<&str> =
        log.lines().filter_map(|line| line.find("USER=").map(|start| &line[start..])).collect();
    let line = "USER=admin\tIP=127.0.0.1\tOPERATION=decommissionNodes\tTARGET=AdminService\tRESULT=SUCCESS\t";
    assert_eq!(audit, [format!("{line}NODES=n1:45454")]);
    let gone = heddle(folder, &["node", "list", "--rm-address", &rm, "--answer-timeout", "2"]);
    assert!(matches!(gone.status.code(), Some(5 | 124)), "{:?}", gone.status);
}
