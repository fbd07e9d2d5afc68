//! What an administrator changes of the scheduler: queues, ACLs, priorities, capabilities, labels.
//! Owns: those records. Called by: the application manager, the scheduler, doors, the command line.
//! Invariant: a refresh is applied whole or refused whole; the reject then has one reason per line.
//! Does not: carry the configuration; the ResourceManager reads its own files.

use rkyv::{Archive, Deserialize, Serialize};

use crate::check::{check_node_id, check_resource, list, name, names};
use crate::error::DecodeError;
use crate::limits;
use crate::message::{Message, message};
use crate::opcode::Opcode;
use crate::record::{NodeId, NodeIdToLabels, NodeLabel, Resource};

/// Reload the queues.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RefreshQueuesRequest {}

/// Answer to [`RefreshQueuesRequest`]: every scheduler has applied them.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RefreshQueuesResponse {
    /// Queues there are now.
    pub queues: u32,
    /// Queues that are new.
    pub added_queues: u32,
    /// Queues that are gone.
    pub removed_queues: u32,
    /// Queues with other settings.
    pub changed_queues: u32,
    /// What people should know: settings that were not understood, one per line.
    pub warnings: String,
}

/// Reload the administrator ACL.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RefreshAdminAclsRequest {}

/// Answer to [`RefreshAdminAclsRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RefreshAdminAclsResponse {}

/// Reload the highest priority.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RefreshClusterMaxPriorityRequest {}

/// Answer to [`RefreshClusterMaxPriorityRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RefreshClusterMaxPriorityResponse {
    /// What it is now.
    pub cluster_max_priority: i32,
}

/// Flush the group cache.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RefreshUserToGroupsMappingsRequest {}

/// Answer to [`RefreshUserToGroupsMappingsRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RefreshUserToGroupsMappingsResponse {}

/// A user's groups.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetGroupsForUserRequest {
    /// The user.
    pub user: String,
}

/// Answer to [`GetGroupsForUserRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct GetGroupsForUserResponse {
    /// The groups.
    pub groups: Vec<String>,
}

/// A node's new capability.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct NodeResource {
    /// The node.
    pub node_id: NodeId,
    /// What it offers from now on.
    pub capability: Resource,
    /// Milliseconds that containers beyond it have: 0 = killed now, `None` = left alone (YARN: negative).
    pub over_commit_timeout_ms: Option<u32>,
}

/// Change nodes' capabilities. All or none: a node that is not registered now, be it unknown or away, refuses the whole
/// with NotFound. A capability holds until the node registers with another one: nothing is kept for it. As in YARN.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateNodeResourceRequest {
    /// The nodes.
    pub node_resources: Vec<NodeResource>,
}

/// Answer to [`UpdateNodeResourceRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateNodeResourceResponse {
    /// Nodes whose capability is another one now.
    pub affected_nodes: u32,
}

/// Add labels to the cluster. One that is there already may become exclusive, or not, while no node has it; else the whole
/// is refused with WrongState.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct AddToClusterNodeLabelsRequest {
    /// The labels.
    pub node_labels: Vec<NodeLabel>,
}

/// Answer to [`AddToClusterNodeLabelsRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct AddToClusterNodeLabelsResponse {
    /// Labels that are new.
    pub added_labels: u32,
}

/// Remove labels from the cluster and from its nodes. One that a queue uses refuses the whole.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoveFromClusterNodeLabelsRequest {
    /// The labels.
    pub node_labels: Vec<String>,
}

/// Answer to [`RemoveFromClusterNodeLabelsRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoveFromClusterNodeLabelsResponse {
    /// Labels that are gone.
    pub removed_labels: u32,
    /// Nodes that had one of them.
    pub affected_nodes: u32,
}

/// Replace the labels of nodes.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaceLabelsOnNodesRequest {
    /// The nodes with all their new labels.
    pub node_to_labels: Vec<NodeIdToLabels>,
    /// Whether a node that is not known refuses the whole.
    pub fail_on_unknown_nodes: bool,
}

/// Answer to [`ReplaceLabelsOnNodesRequest`].
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaceLabelsOnNodesResponse {
    /// Nodes with other labels now.
    pub affected_nodes: u32,
}

message! {
    RefreshQueuesRequest => RefreshQueues, false;
    RefreshQueuesResponse => RefreshQueues, true;
    RefreshAdminAclsRequest => RefreshAdminAcls, false;
    RefreshAdminAclsResponse => RefreshAdminAcls, true;
    RefreshClusterMaxPriorityRequest => RefreshClusterMaxPriority, false;
    RefreshClusterMaxPriorityResponse => RefreshClusterMaxPriority, true;
    RefreshUserToGroupsMappingsRequest => RefreshUserToGroupsMappings, false;
    RefreshUserToGroupsMappingsResponse => RefreshUserToGroupsMappings, true;
    GetGroupsForUserRequest => GetGroupsForUser, false;
    GetGroupsForUserResponse => GetGroupsForUser, true;
    UpdateNodeResourceRequest => UpdateNodeResource, false;
    UpdateNodeResourceResponse => UpdateNodeResource, true;
    AddToClusterNodeLabelsRequest => AddToClusterNodeLabels, false;
    AddToClusterNodeLabelsResponse => AddToClusterNodeLabels, true;
    RemoveFromClusterNodeLabelsRequest => RemoveFromClusterNodeLabels, false;
    RemoveFromClusterNodeLabelsResponse => RemoveFromClusterNodeLabels, true;
    ReplaceLabelsOnNodesRequest => ReplaceLabelsOnNodes, false;
    ReplaceLabelsOnNodesResponse => ReplaceLabelsOnNodes, true;
}

impl ArchivedRefreshQueuesRequest {
    /// Checks every value a peer chooses: any is accepted.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl ArchivedRefreshAdminAclsRequest {
    /// Checks every value a peer chooses: any is accepted.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl ArchivedRefreshClusterMaxPriorityRequest {
    /// Checks every value a peer chooses: any is accepted.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl ArchivedRefreshUserToGroupsMappingsRequest {
    /// Checks every value a peer chooses: any is accepted.
    ///
    /// # Errors
    /// None.
    pub const fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl ArchivedGetGroupsForUserRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        name("user", &self.user)
    }
}

impl ArchivedUpdateNodeResourceRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        list("node_resources", self.node_resources.len(), limits::NODE_IDS_MAX)?;
        for node in self.node_resources.iter() {
            check_node_id(&node.node_id, 1)?;
            check_resource(&node.capability)?;
        }
        Ok(())
    }
}

impl ArchivedAddToClusterNodeLabelsRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        list("node_labels", self.node_labels.len(), limits::CLUSTER_LABELS_MAX)?;
        self.node_labels.iter().try_for_each(|label| check_label(&label.name))
    }
}

impl ArchivedRemoveFromClusterNodeLabelsRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        names("node_labels", &self.node_labels, limits::CLUSTER_LABELS_MAX)
    }
}

impl ArchivedReplaceLabelsOnNodesRequest {
    /// Checks every value a peer chooses.
    ///
    /// # Errors
    /// The first field outside its range.
    pub fn check(&self) -> Result<(), DecodeError> {
        list("node_to_labels", self.node_to_labels.len(), limits::NODE_IDS_MAX)?;
        for node in self.node_to_labels.iter() {
            check_node_id(&node.node_id, 0)?;
            names("node_to_labels.node_labels", &node.node_labels, limits::LABELS_MAX)?;
        }
        Ok(())
    }
}

/// Checks the name of a label that is to be: YARN's form.
fn check_label(label: &str) -> Result<(), DecodeError> {
    name("node_labels.name", label)?;
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let begins_well = label.bytes().next().is_some_and(|byte| byte != b'-' && byte != b'_');
    if !begins_well || !label.bytes().all(is_word) {
        return Err(DecodeError::BadText {
            field: "node_labels.name",
            found: label.chars().take(64).collect(),
            accepted: "letters, digits, '-' and '_', the first a letter or digit",
        });
    }
    Ok(())
}
