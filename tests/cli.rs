//! The `heddle` binary as its users meet it: files, output, exit codes.
//! Owns: a scripted ResourceManager that answers the node commands over real QUIC. Called by: `cargo test`.
//! Does not: test the engine or the door; those have their own tests.
#![allow(clippy::unwrap_used, reason = "a test may end where something it needs is missing")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;

use heddle::pki::{Identity, PeerIdentity, Role};
use heddle_wire::administration::{
    DecommissionNodesRequest, DecommissionNodesResponse, DecommissionType, RecommissionNodesResponse,
    RefreshNodesRequest, RefreshNodesResponse,
};
use heddle_wire::application_client::{GetClusterNodesRequest, GetClusterNodesResponse};
use heddle_wire::frame::Frame;
use heddle_wire::message::{decode, write_reject};
use heddle_wire::record::{NodeHandle, NodeId, NodeReport, NodeState, Resource, ResourceUtilization};
use heddle_wire::{Flags, FrameDecoder, Opcode, Reject, RejectCode, write_frame};

fn heddle(dir: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heddle"));
    command.current_dir(dir).args(line.split_whitespace());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HEDDLE_") {
            command.env_remove(name);
        }
    }
    command.output().unwrap()
}

#[track_caller]
fn check(dir: &Path, line: &str, exit: i32) -> (String, String) {
    let output = heddle(dir, line);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(exit), "{line}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn an_authority_is_made_once_and_issues_by_name() {
    let dir = directory();
    let dir = dir.path();
    check(dir, "pki init", 0);
    let load = |stem: &str| {
        let at = |ending: &str| dir.join("pki").join(format!("{stem}.{ending}"));
        Identity::load(&at("pem"), &at("key"), &dir.join("pki/ca.pem")).unwrap()
    };
    assert_eq!(load("resourcemanager").peer().role, Role::ResourceManager);
    assert_eq!(load("admin").peer().role, Role::Admin);

    let (_, stderr) = check(dir, "pki init", 1);
    assert!(stderr.contains("already exists"), "{stderr}");

    let (stdout, _) = check(dir, "pki issue node *.rack7 --out relay --days 30", 0);
    assert!(stdout.contains("relay/_.rack7.pem"), "{stdout}");
    let at = |name: &str| dir.join("relay").join(name);
    let relay = Identity::load(&at("_.rack7.pem"), &at("_.rack7.key"), &at("ca.pem")).unwrap();
    assert!(relay.peer().allows_host("n1.rack7") && !relay.peer().allows_host("n1.rack8"));

    check(dir, "pki issue node *.rack7 --out relay", 1);
    check(dir, "pki issue admin *", 2);
    check(dir, "pki issue node n1 --days 100000", 2);
    check(dir, "pki issue node n1 --dir elsewhere", 1);
    check(dir, "pki init --dir only --ca-only", 0);
    assert!(!dir.join("only/admin.pem").exists());
}

#[test]
fn configuration_is_shown_with_origins_and_refused_with_reasons() {
    let dir = directory();
    let dir = dir.path();
    std::fs::write(dir.join("heddle.toml"), "[heartbeat]\ninterval_ms = 2000\n").unwrap();
    let (stdout, _) = check(dir, "config show --config heddle.toml --listen 127.0.0.1:9 --origin -o json", 0);
    let shown: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(shown["heartbeat.interval_ms"]["value"], "2000");
    assert_eq!(shown["heartbeat.interval_ms"]["origin"], "heddle.toml:2");
    assert_eq!(shown["heartbeat.interval_ms"]["unit"], "ms");
    assert_eq!(shown["listen.address"]["origin"], "flag --listen");
    assert_eq!(shown["log.level"]["is_default"], true);

    let (stdout, _) = check(dir, "config show --origin", 0);
    assert!(stdout.lines().next().unwrap().starts_with("Key "), "{stdout}");
    let limit = stdout.lines().find(|line| line.starts_with("brake.limit_s ")).unwrap();
    assert!(limit.ends_with("default"), "{limit}");

    let (_, stderr) = check(dir, "config show --set heartbeat.intervall_ms=5", 2);
    assert!(stderr.contains("did you mean heartbeat.interval_ms?"), "{stderr}");
    let (_, stderr) = check(dir, "config show --set nodes.max=0 --set log.format=xml", 2);
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    let (_, stderr) = check(dir, "config show --config none.toml", 2);
    assert!(stderr.contains("none.toml"), "{stderr}");

    let (stdout, _) = check(dir, "config example", 0);
    std::fs::write(dir.join("example.toml"), stdout).unwrap();
    check(dir, "config show --config example.toml", 0);
}

#[test]
fn a_resourcemanager_that_cannot_start_says_why() {
    let dir = directory();
    let dir = dir.path();
    let (_, stderr) = check(dir, "resourcemanager --http off", 1);
    assert!(stderr.contains("heddle pki init"), "{stderr}");
    check(dir, "pki init", 0);
    let (_, stderr) = check(dir, "resourcemanager --http off --set nodes.exclude_path=none", 2);
    assert!(stderr.contains("none"), "{stderr}");
    let (_, stderr) = check(dir, "resourcemanager --listen here", 2);
    assert!(stderr.contains("listen.address is here (flag --listen)"), "{stderr}");
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let http = taken.local_addr().unwrap();
    let (_, stderr) = check(dir, &format!("resourcemanager --listen 127.0.0.1:0 --http {http}"), 1);
    assert!(stderr.contains(&format!("cannot listen on http.address {http}")), "{stderr}");
    check(dir, "replay none", 3);
}

/// It told the queues of no file at all as those of a file that was not there.
#[test]
fn a_queue_file_that_cannot_be_read_means_no_queues() {
    let dir = directory();
    let dir = dir.path();
    let (stdout, stderr) = check(dir, "queue validate none.xml", 1);
    assert!(!stdout.contains("root") && stdout.contains("cannot read none.xml"), "{stdout}");
    assert!(stderr.contains("1 error"), "{stderr}");
    let (stdout, _) = check(dir, "queue validate none.xml -o json", 1);
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&json["is_valid"], &json["queues"]), (&false.into(), &serde_json::json!([])));
}

#[test]
fn what_is_no_number_is_told_which_are_accepted() {
    let dir = directory();
    let dir = dir.path();
    for (line, accepted) in [
        ("node decommission n1 --graceful --timeout x", "-1 to 2147483647"),
        ("application lifetime application_1_0001 10m", "1 to 18446744073709551615"),
        ("node list --answer-timeout 4000", "1 to 3600"),
        ("pki issue node n1 --days 9999", "1 to 3652"),
    ] {
        let (_, stderr) = check(dir, line, 2);
        assert!(stderr.contains(&format!("accepted is a whole number from {accepted}")), "{stderr}");
    }
}

#[test]
fn nobody_there_is_told_as_such() {
    let dir = directory();
    let dir = dir.path();
    check(dir, "pki init", 0);
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let (_, stderr) = check(dir, &format!("node list --rm-address {address} --answer-timeout 1"), 5);
    assert!(stderr.contains("no ResourceManager answers"), "{stderr}");
    // Under a name that does not exist there is nobody; a text that is no address is a slip of whoever typed it.
    for (address, kind, code) in [("nobody.invalid:8031", "unreachable", 5), ("no-port", "usage", 2)] {
        let (stdout, stderr) = check(dir, &format!("node list --rm-address {address} -o json"), code);
        let error: serde_json::Value = serde_json::from_str(&stderr).unwrap();
        assert_eq!((stdout.as_str(), &error["error"]["kind"]), ("", &kind.into()), "{stderr}");
        assert!(stderr.contains(address), "{stderr}");
    }
}

#[test]
fn nodes_are_listed_with_yarns_columns() {
    let dir = directory();
    let dir = dir.path();
    let rm = scripted(dir);
    let (stdout, _) = check(dir, &format!("node list --rm-address {rm}"), 0);
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines[0], "Total Nodes:2");
    let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let headings = ["Node-Id", "Node-State", "Node-Http-Address", "Number-of-Running-Containers"];
    assert_eq!(columns(lines[1]), headings);
    assert_eq!(columns(lines[2]), ["n1:45454", "RUNNING", "n1:8042", "3"]);
    assert_eq!(columns(lines[3]), ["n3:45454", "RUNNING", "n3:8042", "3"]);

    let (stdout, _) = check(dir, &format!("node list --all --rm-address {rm}"), 0);
    assert!(stdout.starts_with("Total Nodes:4\n") && stdout.contains("DECOMMISSIONED"), "{stdout}");
    let line = format!("node list --states lost,DECOMMISSIONED -o json --rm-address {rm}");
    let (stdout, _) = check(dir, &line, 0);
    let listed: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&listed[0]["node_id"], &listed[1]["state"]), (&"n2:45454".into(), &"DECOMMISSIONED".into()));
    let (stdout, _) = check(dir, &format!("node list --show-details --rm-address {rm}"), 0);
    assert_eq!(stdout.matches("Configured Resources : <memory:8192, vCores:8>").count(), 2, "{stdout}");

    let (stdout, _) = check(dir, &format!("node status n2 --rm-address {rm}"), 0);
    assert!(stdout.contains("Node Report :") && stdout.contains("Node-State : LOST"), "{stdout}");
    let (_, stderr) = check(dir, &format!("node status n9:1 --rm-address {rm}"), 3);
    assert!(stderr.contains("could not find the node report for node id : n9:1"), "{stderr}");
}

#[test]
fn nodes_are_taken_out_and_brought_back_with_an_exit_code_for_each_outcome() {
    let dir = directory();
    let dir = dir.path();
    let rm = scripted(dir);
    let line = |rest: &str| format!("node {rest} --rm-address {rm}");
    let (stdout, _) = check(dir, &line("decommission n1 n4 --graceful --timeout 600"), 0);
    assert_eq!(stdout, "n1:45454 decommissioning\nn4:45454 already DECOMMISSIONED\n");
    let (_, stderr) = check(dir, &line("decommission n1 n9"), 3);
    assert!(stderr.contains("no such node: n9"), "{stderr}");
    let (_, stderr) = check(dir, &line("recommission n2"), 4);
    assert!(stderr.contains("n2:45454 is LOST"), "{stderr}");
    let (stdout, _) = check(dir, &line("decommission n1 -o json"), 0);
    let told: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(told["affected"][0], "n1:45454");
    let (stdout, _) = check(dir, &line("refresh --graceful --timeout -1"), 0);
    assert_eq!(stdout, "every host may join, 2 are excluded; 1 nodes began to leave\n");

    // What it does not accept of its own files, or of a value.
    let (_, stderr) = check(dir, &format!("admin refresh-queues --rm-address {rm}"), 4);
    assert!(stderr.contains("the capacities of root.a do not add up"), "{stderr}");
    let (_, stderr) = check(dir, &format!("label add _x --rm-address {rm}"), 4);
    assert!(stderr.contains("a letter or digit first"), "{stderr}");

    // The same with a certificate that may only look.
    check(dir, "pki issue client c", 0);
    let as_client = "--certificate pki/c.pem --key pki/c.key";
    let (_, stderr) = check(dir, &line(&format!("refresh {as_client}")), 4);
    assert!(stderr.contains("heddle pki issue admin"), "{stderr}");
    check(dir, &line(&format!("list {as_client}")), 0);

    // And with one of another authority.
    check(dir, "pki init --dir other", 0);
    let (_, stderr) = check(dir, &line("list --pki-dir other"), 4);
    assert!(stderr.contains("same authority"), "{stderr}");
}

/// Starts a ResourceManager that knows four nodes on two shards and runs until the test's process ends.
fn scripted(dir: &Path) -> SocketAddr {
    check(dir, "pki init", 0);
    let at = |name: &str| dir.join("pki").join(name);
    let identity =
        Identity::load(&at("resourcemanager.pem"), &at("resourcemanager.key"), &at("ca.pem")).unwrap();
    let (told, telling) = std::sync::mpsc::sync_channel(1);
    thread::Builder::new()
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let config = quinn::ServerConfig::with_crypto(Arc::new(identity.server_crypto().unwrap()));
                let endpoint = quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
                told.send(endpoint.local_addr().unwrap()).unwrap();
                while let Some(incoming) = endpoint.accept().await {
                    if let Ok(connection) = incoming.await {
                        serve(connection).await;
                    }
                }
            });
        })
        .unwrap();
    telling.recv().unwrap()
}

async fn serve(connection: quinn::Connection) {
    let certificates = connection.peer_identity().unwrap();
    let certificates = certificates.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap();
    let peer = PeerIdentity::from_certificate(&certificates[0]).unwrap();
    let Ok((mut send, mut recv)) = connection.accept_bi().await else { return };
    let mut decoder = FrameDecoder::new();
    while let Ok(Some(chunk)) = recv.read_chunk(65_536, true).await {
        let mut left = chunk.bytes.len();
        while left > 0 {
            let mut input = &chunk.bytes[chunk.bytes.len() - left..];
            let answer = decoder.next_frame(&mut input).unwrap().map(|frame| answer(&peer, frame));
            left = input.len();
            if let Some(answer) = answer {
                send.write_all(&answer).await.unwrap();
            }
        }
    }
}

fn answer(peer: &PeerIdentity, frame: Frame<'_>) -> Vec<u8> {
    let header = frame.header;
    let (id, key) = (header.correlation_id, header.routing_key);
    let shard = (key >> 56) as usize;
    let mut out = Vec::new();
    let is_change = header.opcode != Opcode::GetClusterNodes;
    if is_change && peer.role != Role::Admin {
        let reject = Reject::new(RejectCode::RoleNotAllowed, "role client may not send this");
        write_reject(&mut out, header.opcode, id, key, &reject);
        return out;
    }
    match header.opcode {
        Opcode::GetClusterNodes => {
            let request: GetClusterNodesRequest = decode(frame.body()).unwrap();
            let is_wanted = |node: &NodeReport| {
                let is_named = |wanted: &NodeId| {
                    wanted.host == node.node_id.host && [0, node.node_id.port].contains(&wanted.port)
                };
                (request.node_states.is_empty() || request.node_states.contains(&node.state))
                    && (request.node_ids.is_empty() || request.node_ids.iter().any(is_named))
            };
            let nodes = nodes(shard).into_iter().filter(is_wanted).collect();
            let page = GetClusterNodesResponse { shard_count: 2, next_row: None, nodes };
            write_frame(&mut out, Flags::RESPONSE, id, key, &page);
        }
        Opcode::DecommissionNodes => {
            let request: DecommissionNodesRequest = decode(frame.body()).unwrap();
            let is_graceful = request.decommission_type == DecommissionType::Graceful;
            assert_eq!(request.decommission_timeout_s, is_graceful.then_some(600));
            let affected = nodes(shard).into_iter().filter(|node| {
                node.state == NodeState::Running
                    && request.node_ids.iter().any(|wanted| wanted.host == node.node_id.host)
            });
            let affected_nodes = affected.map(|node| node.node_id).collect();
            let response = DecommissionNodesResponse { shard_count: 2, affected_nodes };
            write_frame(&mut out, Flags::RESPONSE, id, key, &response);
        }
        Opcode::RecommissionNodes => {
            let response = RecommissionNodesResponse { shard_count: 2, affected_nodes: Vec::new() };
            write_frame(&mut out, Flags::RESPONSE, id, key, &response);
        }
        Opcode::RefreshNodes => {
            let request: RefreshNodesRequest = decode(frame.body()).unwrap();
            assert_eq!(request.decommission_timeout_s, Some(-1));
            let response = RefreshNodesResponse { included_hosts: 0, excluded_hosts: 2, affected_nodes: 1 };
            write_frame(&mut out, Flags::RESPONSE, id, key, &response);
        }
        Opcode::RefreshQueues => {
            let reject = Reject::new(RejectCode::BadField, "the capacities of root.a do not add up");
            write_reject(&mut out, header.opcode, id, key, &reject);
        }
        Opcode::AddToClusterNodeLabels => {
            let text = "node label is \"_x\", accepted are letters, digits, - and _, a letter or digit first";
            write_reject(&mut out, header.opcode, id, key, &Reject::new(RejectCode::BadField, text));
        }
        other => panic!("{other:?}"),
    }
    out
}

/// Nodes n1 and n2 on shard 0, n3 and n4 on shard 1; given out of order.
fn nodes(shard: usize) -> Vec<NodeReport> {
    let states = [NodeState::Running, NodeState::Lost, NodeState::Running, NodeState::Decommissioned];
    let node = |index: usize| NodeReport {
        node_id: NodeId::new(format!("n{}", index + 1), 45_454),
        handle: NodeHandle::new(shard as u8, index as u32, 1),
        http_port: 8_042,
        rack_name: "/default-rack".to_owned(),
        state: states[index],
        is_suspect: false,
        node_class: "default".to_owned(),
        last_seen_ms: 500,
        used: Resource::new(3_072, 3),
        capability: Resource::new(8_192, 8),
        running_containers: 3,
        running_applications: 1,
        health_report: String::new(),
        last_health_report_time_ms: 0,
        node_labels: Vec::new(),
        node_attributes: Vec::new(),
        containers_utilization: ResourceUtilization::default(),
        node_utilization: ResourceUtilization::default(),
        nm_version: "3.4.0".to_owned(),
        decommissioning_remaining_ms: None,
        decommissioning_blocked_by: Vec::new(),
    };
    if shard == 0 { vec![node(1), node(0)] } else { vec![node(3), node(2)] }
}
