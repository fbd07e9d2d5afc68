//! Queues and what one may do in them.
//! Owns: those records. Called by: the scheduler, `client`, the command line.
//! Does not: change queues; an administrator does (RefreshQueues).
//!
//! Differs from YARN: the tree is a list, parents before children, each naming its parent's place; it is paged; the
//! applications of a queue are listed by GetApplications.

use rkyv::{Archive, Deserialize, Serialize};

use crate::check::{queue, range};
use crate::error::DecodeError;
use crate::limits;
use crate::message::{Message, message};
use crate::opcode::Opcode;
use crate::record::{QueueInfo, QueueUserAclInfo};

/// A page of a queue and the queues below it.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetQueueInfoRequest {
    /// The queue, by name or path.
    pub queue_name: String,
    /// Whether to list the queues in it.
    pub include_child_queues: bool,
    /// Whether to list the queues in those, too.
    pub is_recursive: bool,
    /// First place of the listing wanted.
    pub start: u32,
    /// Most queues wanted, 1 to [`QUEUES_PER_PAGE_MAX`](limits::QUEUES_PER_PAGE_MAX).
    pub limit: u32,
}

/// Answer to [`GetQueueInfoRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct GetQueueInfoResponse {
    /// `start` of the next page; `None` at the end.
    pub next: Option<u32>,
    /// The queues, depth first; none where the queue is not known.
    pub queues: Vec<QueueInfo>,
}

/// A page of what the caller may do in which queue.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetQueueUserAclsRequest {
    /// First place of the listing wanted.
    pub start: u32,
    /// Most queues wanted, 1 to [`QUEUES_PER_PAGE_MAX`](limits::QUEUES_PER_PAGE_MAX).
    pub limit: u32,
}

/// Answer to [`GetQueueUserAclsRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetQueueUserAclsResponse {
    /// `start` of the next page; `None` at the end.
    pub next: Option<u32>,
    /// Every queue, depth first, also those in which the caller may do nothing.
    pub queue_user_acls: Vec<QueueUserAclInfo>,
}

message! {
    GetQueueInfoRequest => GetQueueInfo, false;
    GetQueueInfoResponse => GetQueueInfo, true;
    GetQueueUserAclsRequest => GetQueueUserAcls, false;
    GetQueueUserAclsResponse => GetQueueUserAcls, true;
}

impl ArchivedGetQueueInfoRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        queue("queue_name", &self.queue_name)?;
        range("limit", self.limit.to_native().into(), 1, limits::QUEUES_PER_PAGE_MAX.into())
    }
}

impl ArchivedGetQueueUserAclsRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        range("limit", self.limit.to_native().into(), 1, limits::QUEUES_PER_PAGE_MAX.into())
    }
}
