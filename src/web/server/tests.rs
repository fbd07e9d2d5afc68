//! The HTTP door over real sockets: what it serves, what it refuses, and that nobody can hold it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::web::Stage;

fn start(requests_max: usize, timeout_ms: u64) -> (WebServer, Arc<AtomicBool>) {
    let is_failed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_failed);
    let condition = Arc::new(move || Condition {
        stage: if seen.load(Ordering::Relaxed) { Stage::Failed } else { Stage::Running },
        recordings: Vec::new(),
    });
    let metrics = Metrics::new();
    metrics.transport(0).frames_in.add(42);
    let settings = HttpSettings {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        request_timeout: Duration::from_millis(timeout_ms),
        requests_max,
    };
    (WebServer::start(settings, Sources { metrics, condition }).unwrap(), is_failed)
}

/// Sends bytes and reads until the server closes.
fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A connection that is cut may be reset instead of closed.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn request(address: SocketAddr, line: &str) -> String {
    exchange(address, format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
}

#[test]
fn metrics_and_health_are_served_and_nothing_else() {
    let (server, is_failed) = start(8, 5_000);
    let answer = request(server.address(), "GET /metrics");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("\nheddle_frames_in_total{net=\"0\"} 42\n"), "{answer}");

    let answer = request(server.address(), "GET /health");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let health: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&health["status"], &health["is_brake_engaged"]), (&"ok".into(), &false.into()));

    is_failed.store(true, Ordering::Relaxed);
    assert!(request(server.address(), "GET /health").starts_with("HTTP/1.1 503"));
    assert!(request(server.address(), "GET /").starts_with("HTTP/1.1 404"));
    assert!(request(server.address(), "POST /metrics").starts_with("HTTP/1.1 405"));
    assert!(exchange(server.address(), b"\x16\x03\x01nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1_000_000));
    assert!(!exchange(server.address(), long.as_bytes()).starts_with("HTTP/1.1 200"));
    server.stop();
}

#[test]
fn connections_that_say_nothing_are_cut_and_others_get_their_turn() {
    let (server, _) = start(2, 300);
    let silent: Vec<_> = (0..6).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    let mut drip = TcpStream::connect(server.address()).unwrap();
    drip.write_all(b"GET /health HTT").unwrap();
    // All permits are taken by peers that will never ask; each gives its own back at its deadline.
    assert!(request(server.address(), "GET /health").starts_with("HTTP/1.1 200"));
    drop(silent);
    server.stop();
}

#[test]
fn stopping_closes_the_port_and_does_not_wait_for_a_silent_peer() {
    let (server, _) = start(8, 600_000);
    let address = server.address();
    let _silent = TcpStream::connect(address).unwrap();
    assert!(request(address, "GET /health").starts_with("HTTP/1.1 200"));
    server.stop();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_taken_address_is_named() {
    let (server, _) = start(1, 1_000);
    let settings =
        HttpSettings { address: server.address(), request_timeout: Duration::from_secs(1), requests_max: 1 };
    let condition = Arc::new(Condition::default);
    let error = WebServer::start(settings, Sources { metrics: Metrics::new(), condition }).unwrap_err();
    assert!(error.to_string().contains(&server.address().to_string()), "{error}");
}
