//! The node commands of clients and administrators: whole answers, put together over shards and pages.
//! Owns: the walk over shards. Called by: `heddle node`, tests, tools. Thread: whichever polls it.
//! Does not: print, or choose which nodes to act on.
//! Invariant: every walk ends: a shard that does not go forward is an error.

use core::time::Duration;
use std::net::SocketAddr;

use heddle_wire::Opcode;
use heddle_wire::administration::{
    DecommissionNodesRequest, DecommissionNodesResponse, DecommissionType, RecommissionNodesRequest,
    RecommissionNodesResponse, RefreshNodesRequest, RefreshNodesResponse,
};
use heddle_wire::application_client::{
    GetClusterMetricsRequest, GetClusterMetricsResponse, GetClusterNodesRequest, GetClusterNodesResponse,
};
use heddle_wire::limits::{NODE_IDS_MAX, NODES_PER_PAGE_MAX, SHARDS_MAX};
use heddle_wire::record::{NodeHandle, NodeId, NodeReport, NodeState};

use super::rpc::{ClientError, ClientOptions, RpcClient};
use crate::pki::Identity;

/// A client for looking at nodes and, with an admin's certificate, for taking them out and in.
#[derive(Debug)]
pub struct AdminClient {
    rpc: RpcClient,
}

/// How long a graceful decommission may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deadline {
    /// As the ResourceManager is configured.
    #[default]
    Configured,
    /// This long, in whole seconds.
    After(Duration),
    /// For ever.
    Never,
}

impl Deadline {
    /// The form on the wire: seconds, negative = for ever.
    fn seconds(self) -> Option<i32> {
        match self {
            Self::Configured => None,
            Self::After(duration) => Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)),
            Self::Never => Some(-1),
        }
    }
}

/// What a refresh did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refreshed {
    /// Hosts in the include list; 0 = every host may join.
    pub included_hosts: u32,
    /// Hosts in the exclude list.
    pub excluded_hosts: u32,
    /// Nodes that began to leave.
    pub affected_nodes: u32,
}

/// The cluster in numbers, added up over all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMetrics {
    /// Nodes by state, in the order of `NodeState::ALL`.
    pub nodes_by_state: [u64; NodeState::ALL.len()],
    /// Active nodes that are suspect.
    pub suspect_nodes: u64,
    /// Shards whose brake holds back expiry.
    pub brakes_engaged: u32,
    /// Containers that are not complete.
    pub running_containers: u64,
    /// Memory of RUNNING nodes, MiB.
    pub memory_mb: u64,
    /// Virtual cores of RUNNING nodes.
    pub virtual_cores: u64,
    /// Shards.
    pub shard_count: u32,
    /// Start of the ResourceManager, milliseconds since 1970.
    pub rm_identifier: u64,
    /// Its version.
    pub rm_version: String,
}

impl AdminClient {
    /// Connects. The certificate's role decides what will be allowed.
    ///
    /// # Errors
    /// As [`RpcClient::connect`].
    pub async fn connect(
        identity: &Identity,
        address: SocketAddr,
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        Ok(Self { rpc: RpcClient::connect(identity, address, options).await? })
    }

    /// Every node in one of `states` (empty = all) and among `node_ids` (empty = all, port 0 = every NodeManager of the
    /// host), by shard and row.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn nodes(
        &mut self,
        states: &[NodeState],
        node_ids: &[NodeId],
    ) -> Result<Vec<NodeReport>, ClientError> {
        let mut found = Vec::new();
        for node_ids in chunks(node_ids) {
            let mut request = GetClusterNodesRequest {
                node_states: states.to_vec(),
                node_ids: node_ids.to_vec(),
                start_row: 0,
                limit: NODES_PER_PAGE_MAX,
            };
            let mut shards = Shards::new(Opcode::GetClusterNodes);
            while let Some(key) = shards.key() {
                let page: GetClusterNodesResponse = self.rpc.call(key, &request).await?;
                found.extend(page.nodes);
                match page.next_row {
                    Some(row) if row <= request.start_row => {
                        let reason = format!("next_row is {row}, which is not past {}", request.start_row);
                        return Err(ClientError::Unexpected { opcode: Opcode::GetClusterNodes, reason });
                    }
                    Some(row) => request.start_row = row,
                    None => {
                        request.start_row = 0;
                        shards.go_on(page.shard_count)?;
                    }
                }
            }
        }
        Ok(found)
    }

    /// The cluster in numbers.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn cluster_metrics(&mut self) -> Result<ClusterMetrics, ClientError> {
        let mut sum = ClusterMetrics::default();
        let mut shards = Shards::new(Opcode::GetClusterMetrics);
        while let Some(key) = shards.key() {
            let part: GetClusterMetricsResponse = self.rpc.call(key, &GetClusterMetricsRequest {}).await?;
            for (total, count) in sum.nodes_by_state.iter_mut().zip(&part.nodes_by_state) {
                *total += u64::from(*count);
            }
            sum.suspect_nodes += u64::from(part.suspect_nodes);
            sum.brakes_engaged += u32::from(part.is_brake_engaged);
            sum.running_containers = sum.running_containers.saturating_add(part.running_containers);
            sum.memory_mb = sum.memory_mb.saturating_add(part.capability.memory_mb);
            sum.virtual_cores += u64::from(part.capability.virtual_cores);
            sum.shard_count = part.shard_count;
            sum.rm_identifier = part.rm_identifier;
            sum.rm_version = part.rm_version;
            shards.go_on(part.shard_count)?;
        }
        Ok(sum)
    }

    /// Begins to take nodes out. Returns those that began to leave; what is not among them was not in a state to.
    ///
    /// `deadline` is for [`DecommissionType::Graceful`].
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn decommission(
        &mut self,
        node_ids: &[NodeId],
        decommission_type: DecommissionType,
        deadline: Deadline,
    ) -> Result<Vec<NodeId>, ClientError> {
        let mut affected = Vec::new();
        for node_ids in node_ids.chunks(NODE_IDS_MAX) {
            let request = DecommissionNodesRequest {
                node_ids: node_ids.to_vec(),
                decommission_type,
                decommission_timeout_s: deadline.seconds(),
            };
            let mut shards = Shards::new(Opcode::DecommissionNodes);
            while let Some(key) = shards.key() {
                let part: DecommissionNodesResponse = self.rpc.call(key, &request).await?;
                affected.extend(part.affected_nodes);
                shards.go_on(part.shard_count)?;
            }
        }
        Ok(affected)
    }

    /// Brings DECOMMISSIONING nodes back. Returns those that are RUNNING again.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn recommission(&mut self, node_ids: &[NodeId]) -> Result<Vec<NodeId>, ClientError> {
        let mut affected = Vec::new();
        for node_ids in node_ids.chunks(NODE_IDS_MAX) {
            let request = RecommissionNodesRequest { node_ids: node_ids.to_vec() };
            let mut shards = Shards::new(Opcode::RecommissionNodes);
            while let Some(key) = shards.key() {
                let part: RecommissionNodesResponse = self.rpc.call(key, &request).await?;
                affected.extend(part.affected_nodes);
                shards.go_on(part.shard_count)?;
            }
        }
        Ok(affected)
    }

    /// Has the ResourceManager read its include and exclude lists again and apply them.
    ///
    /// # Errors
    /// A failed or refused call, for example lists that cannot be read.
    pub async fn refresh(
        &mut self,
        decommission_type: DecommissionType,
        deadline: Deadline,
    ) -> Result<Refreshed, ClientError> {
        let request = RefreshNodesRequest { decommission_type, decommission_timeout_s: deadline.seconds() };
        let RefreshNodesResponse { included_hosts, excluded_hosts, affected_nodes } =
            self.rpc.call(0, &request).await?;
        Ok(Refreshed { included_hosts, excluded_hosts, affected_nodes })
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.rpc.close().await;
    }
}

/// The walk over shards: the first answer tells how many there are.
struct Shards {
    opcode: Opcode,
    next: u32,
    count: u32,
}

impl Shards {
    fn new(opcode: Opcode) -> Self {
        Self { opcode, next: 0, count: 1 }
    }

    /// Routing key of the shard to ask; `None` at the end.
    fn key(&self) -> Option<u64> {
        let shard = u8::try_from(self.next).ok()?;
        (self.next < self.count).then_some(NodeHandle::new(shard, 0, 0).0)
    }

    fn go_on(&mut self, count: u32) -> Result<(), ClientError> {
        if count == 0 || count as usize > SHARDS_MAX || (self.next > 0 && count != self.count) {
            let reason =
                format!("shard_count is {count} after {}, accepted are 1 to {SHARDS_MAX}", self.count);
            return Err(ClientError::Unexpected { opcode: self.opcode, reason });
        }
        self.count = count;
        self.next += 1;
        Ok(())
    }
}

/// The ids in parts that fit a request; one empty part for none, which means all nodes.
fn chunks(node_ids: &[NodeId]) -> Vec<&[NodeId]> {
    if node_ids.is_empty() { vec![&[]] } else { node_ids.chunks(NODE_IDS_MAX).collect() }
}
