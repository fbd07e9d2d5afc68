//! A frame of any method as one value, for tools that look into all of them: recordings, captures, fuzzing, tests.
//! Owns: [`AnyMessage`] and with it the list of every record that is a body. Called by: such tools, on any thread.
//! Does not: serve the hot path; doors and agents know which record they expect and read it in place.
//! Invariant: a record that implements [`Message`] for a body is in the list (held by `wire/tests/records.rs`).

use crate::administration::*;
use crate::application_client::*;
use crate::application_master::*;
use crate::error::{DecodeError, EncodeError, Reject};
use crate::frame::{Flags, Frame};
use crate::message::{Message, access, decode, decode_reject, try_write_frame, write_reject};
use crate::opcode::Opcode;
use crate::resource_tracker::*;

macro_rules! any_message {
    ($($opcode:ident: $request:ident, $response:ident;)*) => {
        /// The body of any frame.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "a variant is the record of its name")]
        pub enum AnyMessage {
            $( $request(Box<$request>), $response(Box<$response>), )*
            /// Why a request was not carried out.
            Reject(Opcode, Box<Reject>),
        }

        impl AnyMessage {
            /// The name of every record that is a body, requests and answers in the order of the opcodes.
            pub const RECORD_NAMES: &'static [&'static str] =
                &[$( stringify!($request), stringify!($response), )* "Reject"];

            /// Reads a frame's body: checks its structure and, of requests, every value a peer chooses.
            ///
            /// # Errors
            /// [`DecodeError::NoRecord`] for a method without records, else what is wrong with the body.
            pub fn read(frame: &Frame<'_>) -> Result<Self, DecodeError> {
                let opcode = frame.header.opcode;
                let body = frame.body();
                if frame.header.flags.is_reject() {
                    return decode_reject(opcode, body).map(|reject| Self::Reject(opcode, Box::new(reject)));
                }
                let is_response = frame.header.flags.is_response();
                match opcode {
                    $(
                        Opcode::$opcode if is_response => {
                            decode::<$response>(body).map(|record| Self::$response(Box::new(record)))
                        }
                        Opcode::$opcode => {
                            access::<$request>(body)?.check()?;
                            decode::<$request>(body).map(|record| Self::$request(Box::new(record)))
                        }
                    )*
                    _ => Err(DecodeError::NoRecord { opcode, is_response }),
                }
            }

            /// The method.
            #[must_use]
            pub const fn opcode(&self) -> Opcode {
                match self {
                    $( Self::$request(_) => $request::OPCODE, Self::$response(_) => $response::OPCODE, )*
                    Self::Reject(opcode, _) => *opcode,
                }
            }

            /// The record's name.
            #[must_use]
            pub const fn record_name(&self) -> &'static str {
                match self {
                    $(
                        Self::$request(_) => stringify!($request),
                        Self::$response(_) => stringify!($response),
                    )*
                    Self::Reject(..) => "Reject",
                }
            }

            /// Appends it to `out` as a whole frame. Returns the frame's size. Rejects always have their own flag.
            ///
            /// # Errors
            /// As [`try_write_frame`].
            pub fn write(
                &self,
                out: &mut Vec<u8>,
                flags: Flags,
                correlation_id: u64,
                routing_key: u64,
            ) -> Result<usize, EncodeError> {
                match self {
                    $(
                        Self::$request(record) => {
                            try_write_frame(out, flags, correlation_id, routing_key, &**record)
                        }
                        Self::$response(record) => {
                            try_write_frame(out, flags, correlation_id, routing_key, &**record)
                        }
                    )*
                    Self::Reject(opcode, reject) => {
                        Ok(write_reject(out, *opcode, correlation_id, routing_key, reject))
                    }
                }
            }
        }
    };
}

any_message! {
    RegisterNodeManager: RegisterNodeManagerRequest, RegisterNodeManagerResponse;
    NodeHeartbeat: NodeHeartbeatRequest, NodeHeartbeatResponse;
    UnRegisterNodeManager: UnRegisterNodeManagerRequest, UnRegisterNodeManagerResponse;
    RegisterApplicationMaster: RegisterApplicationMasterRequest, RegisterApplicationMasterResponse;
    Allocate: AllocateRequest, AllocateResponse;
    FinishApplicationMaster: FinishApplicationMasterRequest, FinishApplicationMasterResponse;
    GetNewApplication: GetNewApplicationRequest, GetNewApplicationResponse;
    SubmitApplication: SubmitApplicationRequest, SubmitApplicationResponse;
    KillApplication: KillApplicationRequest, KillApplicationResponse;
    FailApplicationAttempt: FailApplicationAttemptRequest, FailApplicationAttemptResponse;
    GetApplicationReport: GetApplicationReportRequest, GetApplicationReportResponse;
    GetApplications: GetApplicationsRequest, GetApplicationsResponse;
    GetApplicationAttemptReport: GetApplicationAttemptReportRequest, GetApplicationAttemptReportResponse;
    GetApplicationAttempts: GetApplicationAttemptsRequest, GetApplicationAttemptsResponse;
    GetContainerReport: GetContainerReportRequest, GetContainerReportResponse;
    GetContainers: GetContainersRequest, GetContainersResponse;
    GetClusterMetrics: GetClusterMetricsRequest, GetClusterMetricsResponse;
    GetClusterNodes: GetClusterNodesRequest, GetClusterNodesResponse;
    GetQueueInfo: GetQueueInfoRequest, GetQueueInfoResponse;
    GetQueueUserAcls: GetQueueUserAclsRequest, GetQueueUserAclsResponse;
    MoveApplicationAcrossQueues: MoveApplicationAcrossQueuesRequest, MoveApplicationAcrossQueuesResponse;
    UpdateApplicationPriority: UpdateApplicationPriorityRequest, UpdateApplicationPriorityResponse;
    UpdateApplicationTimeouts: UpdateApplicationTimeoutsRequest, UpdateApplicationTimeoutsResponse;
    SignalToContainer: SignalToContainerRequest, SignalToContainerResponse;
    GetResourceTypeInfo: GetResourceTypeInfoRequest, GetResourceTypeInfoResponse;
    GetNodeToLabels: GetNodeToLabelsRequest, GetNodeToLabelsResponse;
    GetLabelsToNodes: GetLabelsToNodesRequest, GetLabelsToNodesResponse;
    GetClusterNodeLabels: GetClusterNodeLabelsRequest, GetClusterNodeLabelsResponse;
    ExplainApplication: ExplainApplicationRequest, ExplainApplicationResponse;
    RefreshQueues: RefreshQueuesRequest, RefreshQueuesResponse;
    RefreshNodes: RefreshNodesRequest, RefreshNodesResponse;
    RefreshUserToGroupsMappings: RefreshUserToGroupsMappingsRequest, RefreshUserToGroupsMappingsResponse;
    RefreshAdminAcls: RefreshAdminAclsRequest, RefreshAdminAclsResponse;
    GetGroupsForUser: GetGroupsForUserRequest, GetGroupsForUserResponse;
    UpdateNodeResource: UpdateNodeResourceRequest, UpdateNodeResourceResponse;
    AddToClusterNodeLabels: AddToClusterNodeLabelsRequest, AddToClusterNodeLabelsResponse;
    RemoveFromClusterNodeLabels: RemoveFromClusterNodeLabelsRequest, RemoveFromClusterNodeLabelsResponse;
    ReplaceLabelsOnNodes: ReplaceLabelsOnNodesRequest, ReplaceLabelsOnNodesResponse;
    RefreshClusterMaxPriority: RefreshClusterMaxPriorityRequest, RefreshClusterMaxPriorityResponse;
    DecommissionNodes: DecommissionNodesRequest, DecommissionNodesResponse;
    RecommissionNodes: RecommissionNodesRequest, RecommissionNodesResponse;
}
