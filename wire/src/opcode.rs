//! One number per protocol method, grouped by protocol.
//! Owns: the opcode table, the largest body per opcode, the protocol of each (`wire/PROTOCOL.md` §1 says which role may
//! send which). Called by: frame decoder, doors, on any thread.
//! Does not: reuse numbers. A published opcode keeps its meaning for ever; a changed record gets a new number.
//! Invariants: a number's high byte is its protocol; no body is larger than [`BODY_MAX`].

use crate::limits::{BODY_MAX, DIAGNOSTICS_BODY_MAX, HEARTBEAT_BODY_MAX, SUBMIT_BODY_MAX};

/// The protocol an opcode belongs to: the high byte of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// NodeManager → ResourceManager (`0x01xx`).
    ResourceTracker,
    /// ApplicationMaster → ResourceManager (`0x02xx`).
    ApplicationMaster,
    /// Client → ResourceManager (`0x03xx`).
    ApplicationClient,
    /// Administrator → ResourceManager (`0x04xx`).
    Administration,
}

macro_rules! opcodes {
    ($( $protocol:ident { $( $(#[doc = $doc:literal])* $name:ident = $number:literal, $max:expr; )* } )*) => {
        /// A protocol method. Request and answer carry the same opcode; the answer has the `RESPONSE` flag.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Opcode { $($( $(#[doc = $doc])* $name = $number, )*)* }

        impl Opcode {
            /// Every opcode, in the table's order.
            pub const ALL: &'static [Self] = &[ $($( Self::$name, )*)* ];

            /// The opcode with this number. Cost: one jump table.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($( $number => Some(Self::$name), )*)* _ => None }
            }

            /// YARN's name of the method, as it appears in errors, metrics and `wire/PROTOCOL.md`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($( Self::$name => stringify!($name), )*)* }
            }

            /// The protocol this method belongs to.
            #[must_use]
            pub const fn protocol(self) -> Protocol {
                match self { $($( Self::$name => Protocol::$protocol, )*)* }
            }

            /// Largest body of a request or answer of this method, bytes.
            #[must_use]
            pub const fn body_max(self) -> u32 {
                match self { $($( Self::$name => $max, )*)* }
            }
        }
    };
}

/// Body limit of methods whose records are not defined yet: they are known by name and answered "not supported yet".
const CONTROL: u32 = 64 * 1024;

opcodes! {
    ResourceTracker {
        /// A NodeManager joins, or comes back.
        RegisterNodeManager = 0x0101, BODY_MAX;
        /// The periodic report of a node, and its answer. Also pushed by the ResourceManager.
        NodeHeartbeat = 0x0102, HEARTBEAT_BODY_MAX;
        /// A NodeManager leaves for good.
        UnRegisterNodeManager = 0x0103, CONTROL;
    }
    ApplicationMaster {
        /// An ApplicationMaster introduces itself.
        RegisterApplicationMaster = 0x0201, BODY_MAX;
        /// Ask, release, learn of grants and completions.
        Allocate = 0x0202, BODY_MAX;
        /// The ApplicationMaster's last word.
        FinishApplicationMaster = 0x0203, DIAGNOSTICS_BODY_MAX;
    }
    ApplicationClient {
        /// A new application id.
        GetNewApplication = 0x0301, CONTROL;
        /// Submit an application.
        SubmitApplication = 0x0302, SUBMIT_BODY_MAX;
        /// Kill an application.
        KillApplication = 0x0303, DIAGNOSTICS_BODY_MAX;
        /// Fail the current attempt.
        FailApplicationAttempt = 0x0304, CONTROL;
        /// One application's report.
        GetApplicationReport = 0x0305, CONTROL;
        /// Reports of many applications.
        GetApplications = 0x0306, BODY_MAX;
        /// One attempt's report.
        GetApplicationAttemptReport = 0x0307, CONTROL;
        /// All attempts of an application.
        GetApplicationAttempts = 0x0308, BODY_MAX;
        /// One container's report.
        GetContainerReport = 0x0309, CONTROL;
        /// All containers of an attempt.
        GetContainers = 0x030a, BODY_MAX;
        /// Node counts of the cluster.
        GetClusterMetrics = 0x030b, CONTROL;
        /// A page of node reports.
        GetClusterNodes = 0x030c, BODY_MAX;
        /// A queue's information.
        GetQueueInfo = 0x030d, BODY_MAX;
        /// What the caller may do in which queue.
        GetQueueUserAcls = 0x030e, BODY_MAX;
        /// Move an application to another queue.
        MoveApplicationAcrossQueues = 0x030f, CONTROL;
        /// Change an application's priority.
        UpdateApplicationPriority = 0x0310, CONTROL;
        /// Change an application's lifetime.
        UpdateApplicationTimeouts = 0x0311, CONTROL;
        /// Signal a container.
        SignalToContainer = 0x0312, CONTROL;
        /// The resource types the cluster knows.
        GetResourceTypeInfo = 0x0313, CONTROL;
        /// A delegation token.
        GetDelegationToken = 0x0314, CONTROL;
        /// Renew a delegation token.
        RenewDelegationToken = 0x0315, CONTROL;
        /// Cancel a delegation token.
        CancelDelegationToken = 0x0316, CONTROL;
        /// A new reservation id.
        GetNewReservation = 0x0317, CONTROL;
        /// Submit a reservation.
        SubmitReservation = 0x0318, CONTROL;
        /// Update a reservation.
        UpdateReservation = 0x0319, CONTROL;
        /// Delete a reservation.
        DeleteReservation = 0x031a, CONTROL;
        /// List reservations.
        ListReservations = 0x031b, BODY_MAX;
        /// Labels by node.
        GetNodeToLabels = 0x031c, BODY_MAX;
        /// Nodes by label.
        GetLabelsToNodes = 0x031d, BODY_MAX;
        /// The cluster's labels.
        GetClusterNodeLabels = 0x031e, BODY_MAX;
        /// The cluster's attributes.
        GetClusterNodeAttributes = 0x031f, CONTROL;
        /// Nodes by attribute.
        GetAttributesToNodes = 0x0320, BODY_MAX;
        /// Attributes by node.
        GetNodesToAttributes = 0x0321, BODY_MAX;
        /// Resource profiles.
        GetResourceProfiles = 0x0322, CONTROL;
        /// One resource profile.
        GetResourceProfile = 0x0323, CONTROL;
        /// Why an application waits. Heddle's own.
        ExplainApplication = 0x0380, BODY_MAX;
    }
    Administration {
        /// Reload the queues.
        RefreshQueues = 0x0401, CONTROL;
        /// Reload the include and exclude lists.
        RefreshNodes = 0x0402, CONTROL;
        /// Reload proxy-user rules.
        RefreshSuperUserGroupsConfiguration = 0x0403, CONTROL;
        /// Flush the group cache.
        RefreshUserToGroupsMappings = 0x0404, CONTROL;
        /// Reload the administrator ACL.
        RefreshAdminAcls = 0x0405, CONTROL;
        /// Reload the service ACLs.
        RefreshServiceAcls = 0x0406, CONTROL;
        /// A user's groups.
        GetGroupsForUser = 0x0407, CONTROL;
        /// Change a node's capability.
        UpdateNodeResource = 0x0408, BODY_MAX;
        /// Reload the dynamic-resources file.
        RefreshNodesResources = 0x0409, CONTROL;
        /// Add labels to the cluster.
        AddToClusterNodeLabels = 0x040a, BODY_MAX;
        /// Remove labels from the cluster.
        RemoveFromClusterNodeLabels = 0x040b, BODY_MAX;
        /// Replace the labels of nodes.
        ReplaceLabelsOnNodes = 0x040c, BODY_MAX;
        /// Nodes that are DECOMMISSIONING.
        CheckForDecommissioningNodes = 0x040d, BODY_MAX;
        /// Reload the highest priority.
        RefreshClusterMaxPriority = 0x040e, CONTROL;
        /// Attributes of nodes, set centrally.
        MapAttributesToNodes = 0x040f, BODY_MAX;
        /// Decommission named nodes. Heddle's own: YARN edits the exclude file and refreshes.
        DecommissionNodes = 0x0480, CONTROL;
        /// Bring named DECOMMISSIONING nodes back. Heddle's own.
        RecommissionNodes = 0x0481, CONTROL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_follow_their_protocol() {
        for &opcode in Opcode::ALL {
            let number = opcode as u16;
            assert_eq!(Opcode::from_number(number), Some(opcode));
            let high = match opcode.protocol() {
                Protocol::ResourceTracker => 1,
                Protocol::ApplicationMaster => 2,
                Protocol::ApplicationClient => 3,
                Protocol::Administration => 4,
            };
            assert_eq!(number >> 8, high, "{}", opcode.name());
            assert!(opcode.body_max() <= BODY_MAX);
        }
        assert_eq!(Opcode::from_number(0), None);
        assert_eq!(Opcode::from_number(0x0104), None);
    }
}
