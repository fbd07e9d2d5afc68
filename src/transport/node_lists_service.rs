//! RefreshNodes: reads the include and exclude files and hands them to every shard.
//! Owns: [`NodeListsService`] (one task, one refresh at a time) and [`NodeListsDoor`], by which streams ask for it.
//! Called by: stream tasks of every net thread. Thread: the service runs on `rm-net-0`, file reading on its helper.
//! Does not: touch nodes; each shard applies the lists to its own.

use std::sync::Arc;
use std::time::Duration;

use heddle_wire::administration::{ArchivedDecommissionType, RefreshNodesRequest, RefreshNodesResponse};
use heddle_wire::{Reject, RejectCode};
use tokio::sync::{mpsc, oneshot};

use crate::config::NodeListFiles;
use crate::engine::event::{CommandReply, DecommissionMode, ShardCommand};
use crate::engine::settings::NodeLists;
use crate::ring::{Full, MpscQueue};
use crate::runtime::idle::Sleeper;

/// Refreshes waiting; each is an administrator who waits too.
const WAITING_MAX: usize = 16;

/// How long the shards may take. They apply a list within a cycle; past this something is badly wrong.
const SHARDS_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a shard's commands go in.
#[derive(Clone, Debug)]
pub(crate) struct ShardCommandPort {
    pub(crate) commands: MpscQueue<ShardCommand>,
    pub(crate) sleeper: Arc<Sleeper>,
}

struct Job {
    mode: DecommissionMode,
    answer: oneshot::Sender<Result<RefreshNodesResponse, Reject>>,
}

/// Why a refresh was not done.
#[derive(Debug)]
pub(super) enum RefreshError {
    Refused(Reject),
    Stopping,
}

impl RefreshError {
    /// In words, for the audit log.
    pub(super) fn reason(&self) -> Box<str> {
        match self {
            Self::Refused(reject) => reject.message.as_str().into(),
            Self::Stopping => "this ResourceManager is stopping".into(),
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct NodeListsDoor {
    jobs: mpsc::Sender<Job>,
    default_timeout: Option<Duration>,
}

/// See the module.
pub(crate) struct NodeListsService {
    jobs: mpsc::Receiver<Job>,
    replies: mpsc::Receiver<CommandReply>,
    shards: Vec<ShardCommandPort>,
    files: NodeListFiles,
    next_token: u64,
}

/// Makes the service and its door. `default_timeout` holds for graceful refreshes that name none.
pub(crate) fn node_lists_service(
    shards: Vec<ShardCommandPort>,
    replies: mpsc::Receiver<CommandReply>,
    files: NodeListFiles,
    default_timeout: Option<Duration>,
) -> (NodeListsDoor, NodeListsService) {
    let (sender, jobs) = mpsc::channel(WAITING_MAX);
    let service = NodeListsService { jobs, replies, shards, files, next_token: 1 };
    (NodeListsDoor { jobs: sender, default_timeout }, service)
}

impl NodeListsDoor {
    /// Asks for a refresh and waits until every shard has the lists.
    pub(super) async fn refresh(&self, body: &[u8]) -> Result<RefreshNodesResponse, RefreshError> {
        let mode = self.mode(body).map_err(RefreshError::Refused)?;
        let (answer, answered) = oneshot::channel();
        match self.jobs.try_send(Job { mode, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                let text =
                    format!("{WAITING_MAX} refreshes are waiting already, accepted are at most that many");
                return Err(RefreshError::Refused(Reject::new(RejectCode::Busy, text)));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(RefreshError::Stopping),
        }
        match answered.await {
            Ok(result) => result.map_err(RefreshError::Refused),
            Err(_) => Err(RefreshError::Stopping),
        }
    }

    fn mode(&self, body: &[u8]) -> Result<DecommissionMode, Reject> {
        let request =
            heddle_wire::access::<RefreshNodesRequest>(body).map_err(|error| Reject::from(&error))?;
        let timeout_s = request.decommission_timeout_s.as_ref().map(|seconds| seconds.to_native());
        Ok(match request.decommission_type {
            ArchivedDecommissionType::Normal => DecommissionMode::Normal,
            ArchivedDecommissionType::Forceful => DecommissionMode::Forceful,
            ArchivedDecommissionType::Graceful => DecommissionMode::Graceful(match timeout_s {
                None => {
                    self.default_timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX))
                }
                Some(seconds) => u64::try_from(seconds).ok().map(|seconds| seconds * 1_000),
            }),
        })
    }
}

impl NodeListsService {
    /// Serves until every door is gone.
    pub(crate) async fn run(mut self) {
        while let Some(job) = self.jobs.recv().await {
            let result = self.refresh(job.mode).await;
            // A caller that went away meanwhile has no use for the answer; the lists are in force.
            let _ = job.answer.send(result);
        }
    }

    async fn refresh(&mut self, mode: DecommissionMode) -> Result<RefreshNodesResponse, Reject> {
        let files = self.files.clone();
        let read = tokio::task::spawn_blocking(move || files.read().map_err(|error| error.to_string()));
        let lists = match read.await {
            Ok(Ok(lists)) => lists,
            Ok(Err(error)) => return Err(Reject::new(RejectCode::BadField, error)),
            Err(error) => {
                return Err(Reject::new(RejectCode::Internal, format!("reading the lists failed: {error}")));
            }
        };
        let affected = self.hand_out(&lists, mode).await?;
        tracing::info!(
            included = lists.include.len(),
            excluded = lists.exclude.len(),
            affected,
            "include and exclude lists refreshed"
        );
        Ok(RefreshNodesResponse {
            included_hosts: u32::try_from(lists.include.len()).unwrap_or(u32::MAX),
            excluded_hosts: u32::try_from(lists.exclude.len()).unwrap_or(u32::MAX),
            affected_nodes: affected,
        })
    }

    async fn hand_out(&mut self, lists: &NodeLists, mode: DecommissionMode) -> Result<u32, Reject> {
        let token = self.next_token;
        self.next_token += 1;
        for shard in &self.shards {
            let mut command = ShardCommand::SetNodeLists { token, lists: lists.clone(), mode };
            while let Err(Full(back)) = shard.commands.offer(command) {
                command = back;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            shard.sleeper.notify(true);
        }
        let mut affected = 0;
        let mut waiting = self.shards.len();
        while waiting > 0 {
            match tokio::time::timeout(SHARDS_TIMEOUT, self.replies.recv()).await {
                Ok(Some(CommandReply::NodeLists { token: answered, affected: count }))
                    if answered == token =>
                {
                    affected += count;
                    waiting -= 1;
                }
                // An answer to a refresh that was given up.
                Ok(Some(_)) => {}
                Ok(None) => {
                    return Err(Reject::new(RejectCode::ShuttingDown, "this ResourceManager is stopping"));
                }
                Err(_) => {
                    let text = format!("{waiting} shards did not apply the lists within {SHARDS_TIMEOUT:?}");
                    return Err(Reject::new(RejectCode::Internal, text));
                }
            }
        }
        Ok(affected)
    }
}
