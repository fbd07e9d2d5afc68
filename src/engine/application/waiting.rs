//! Calls that wait for the scheduler or the store.
//! Owns: [`Waiting`], what is remembered of each. Called by: `client`, `administration` (put), `reply` (take).
//! Does not: time out: the scheduler answers every token, the store every operation.
//! Invariant: at most the settings' bound wait; a token is used once.

use std::collections::BTreeMap;

use heddle_wire::application_client::GetLabelsToNodesRequest;
use heddle_wire::record::{ApplicationId, ContainerId};
use heddle_wire::{Reject, RejectCode};

use super::call::Call;
use crate::engine::batch::Caller;

/// What happens when the answer is there.
#[derive(Debug)]
pub(super) enum Wait {
    /// GetApplicationReport.
    Report(ApplicationId),
    /// GetApplications: those of the page, and where the next begins.
    Applications { ids: Vec<ApplicationId>, live: Vec<ApplicationId>, next: Option<ApplicationId> },
    /// The scheduler's record is the answer.
    Record,
    /// GetQueueInfo: as `Record`; what is refused is an empty answer.
    QueueInfo,
    /// ExplainApplication: the state is ours.
    Explain(ApplicationId),
    /// SignalToContainer.
    Signal(ContainerId),
    /// GetNodeToLabels.
    NodeToLabels { start: u32, limit: u32 },
    /// GetLabelsToNodes.
    LabelsToNodes(GetLabelsToNodesRequest),
    /// GetClusterNodeLabels.
    ClusterNodeLabels,
    /// AddToClusterNodeLabels.
    AddNodeLabels,
    /// RemoveFromClusterNodeLabels.
    RemoveNodeLabels { labels: u32 },
    /// ReplaceLabelsOnNodes, of these nodes in words.
    ReplaceLabelsOnNodes { nodes: Box<str> },
    /// UpdateNodeResource, of these nodes in words.
    UpdateNodeResource { nodes: Box<str> },
    /// A change of an application: checked by the scheduler, stored, then applied.
    Change { application_id: ApplicationId, change: Change, step: ChangeStep },
}

/// What is changed of an application.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Its queue: full path where it is known.
    Queue(Box<str>),
    /// Its priority.
    Priority(i32),
    /// The end of its lifetime, milliseconds since 1970.
    Expiry(u64),
}

/// How far a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeStep {
    /// The scheduler looks whether it could be done.
    Checking,
    /// It is being stored.
    Storing,
    /// The scheduler does it.
    Applying,
}

/// Someone who waits.
#[derive(Debug)]
pub(super) enum Waiter {
    /// A frame's sender.
    Call(Call, Wait),
    /// ReplaceQueues of the administration service.
    ReplaceQueues { token: u64, caller: Caller, queues: u32, added: u32, removed: u32, changed: u32 },
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    last_token: u64,
    waiters: BTreeMap<u64, Waiter>,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Whether another may wait.
    pub(super) fn check_room(&self, accepted: u32) -> Result<(), Reject> {
        if self.waiters.len() < accepted as usize {
            return Ok(());
        }
        let text =
            format!("{} calls wait for the scheduler, accepted are at most {accepted}", self.waiters.len());
        Err(Reject::new(RejectCode::Busy, text).retry_after_ms(100))
    }

    /// Remembers someone; returns the token to ask with.
    pub(super) fn put(&mut self, waiter: Waiter) -> u64 {
        self.last_token += 1;
        self.waiters.insert(self.last_token, waiter);
        self.last_token
    }

    pub(super) fn take(&mut self, token: u64) -> Option<Waiter> {
        self.waiters.remove(&token)
    }
}
