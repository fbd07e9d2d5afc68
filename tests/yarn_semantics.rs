//! YARN's ResourceTracker behaviour, clause by clause, at the level of frames: bytes in, bytes out, virtual time.
//! Owns: one test per clause, named after it. Sources: YARN's ResourceTrackerService, RMNodeImpl, NMLivelinessMonitor,
//! NodesListManager, DecommissioningNodesWatcher. Does not: test wire formats (`heddle-wire`) or sockets (`tests/e2e.rs`).

mod common;
#[path = "yarn_semantics/heartbeat.rs"]
mod heartbeat;
#[path = "yarn_semantics/launch.rs"]
mod launch;
#[path = "yarn_semantics/leaving.rs"]
mod leaving;
#[path = "yarn_semantics/peers.rs"]
mod peers;
#[path = "yarn_semantics/registration.rs"]
mod registration;
#[path = "yarn_semantics/status.rs"]
mod status;

use core::time::Duration;

use common::*;
use heddle::engine::batch::{PeerId, StreamRef};
use heddle::engine::event::{
    CommandReply, ContainerReport, DecommissionMode, KeyPair, NodeCommand, NodeOrder, NodeRemoved,
    RemovedReason, ShardCommand, Usability,
};
use heddle::engine::settings::*;
use heddle_wire::administration::*;
use heddle_wire::record::*;
use heddle_wire::resource_tracker::*;
use heddle_wire::{RejectCode, decode};

const SECOND: Duration = Duration::from_secs(1);

fn ids(reports: &[ContainerReport]) -> Vec<ContainerId> {
    reports.iter().map(|report| report.container_id).collect()
}

fn set_lists(engine: &mut Engine, lists: NodeLists, mode: DecommissionMode) {
    engine.command(ShardCommand::SetNodeLists { token: 42, lists, mode });
}

fn unregister(engine: &mut Engine, node: &TestNode) -> bool {
    let request = UnRegisterNodeManagerRequest { node_handle: node.handle(), reason: "stop".to_owned() };
    let frame = engine.frame(node.handle().0, &request);
    let reply = engine.send(&frame, node.stream, node.peer);
    decode::<UnRegisterNodeManagerResponse>(&reply.body()).expect("an answer").was_known
}

fn decommission(
    engine: &mut Engine,
    host: &str,
    decommission_type: DecommissionType,
    decommission_timeout_s: Option<i32>,
) -> Vec<String> {
    let node_ids = vec![NodeId::new(host, 0)];
    let request = DecommissionNodesRequest { node_ids, decommission_type, decommission_timeout_s };
    let frame = engine.frame(0, &request);
    let reply = engine.send(&frame, StreamRef::NONE, PeerId(9));
    let response: DecommissionNodesResponse = decode(&reply.body()).expect("an answer");
    response.affected_nodes.into_iter().map(|node| node.host).collect()
}

fn recommission(engine: &mut Engine, host: &str) -> Vec<String> {
    let request = RecommissionNodesRequest { node_ids: vec![NodeId::new(host, 0)] };
    let frame = engine.frame(0, &request);
    let reply = engine.send(&frame, StreamRef::NONE, PeerId(9));
    let response: RecommissionNodesResponse = decode(&reply.body()).expect("an answer");
    response.affected_nodes.into_iter().map(|node| node.host).collect()
}
