//! The application commands of clients and the scheduler's administration: one method per protocol method, pages joined.
//! Owns: the walk over pages. Called by: `heddle application` and its neighbours, tests, tools. Thread: whichever polls it.
//! Does not: print, wait for states, or decide what may be asked (the ResourceManager does).
//! Invariant: every walk ends: a page that does not go forward is an error.

use std::net::SocketAddr;

use heddle_wire::Opcode;
use heddle_wire::administration::{
    AddToClusterNodeLabelsRequest, AddToClusterNodeLabelsResponse, GetGroupsForUserRequest,
    GetGroupsForUserResponse, NodeResource, RefreshAdminAclsRequest, RefreshAdminAclsResponse,
    RefreshClusterMaxPriorityRequest, RefreshClusterMaxPriorityResponse, RefreshQueuesRequest,
    RefreshQueuesResponse, RefreshUserToGroupsMappingsRequest, RefreshUserToGroupsMappingsResponse,
    RemoveFromClusterNodeLabelsRequest, RemoveFromClusterNodeLabelsResponse, ReplaceLabelsOnNodesRequest,
    ReplaceLabelsOnNodesResponse, UpdateNodeResourceRequest, UpdateNodeResourceResponse,
};
use heddle_wire::application_client::{
    ExplainApplicationRequest, ExplainApplicationResponse, FailApplicationAttemptRequest,
    FailApplicationAttemptResponse, GetApplicationAttemptReportRequest, GetApplicationAttemptReportResponse,
    GetApplicationAttemptsRequest, GetApplicationAttemptsResponse, GetApplicationReportRequest,
    GetApplicationReportResponse, GetApplicationsRequest, GetApplicationsResponse,
    GetClusterNodeLabelsRequest, GetClusterNodeLabelsResponse, GetContainerReportRequest,
    GetContainerReportResponse, GetContainersRequest, GetContainersResponse, GetNewApplicationRequest,
    GetNewApplicationResponse, GetQueueInfoRequest, GetQueueInfoResponse, GetQueueUserAclsRequest,
    GetQueueUserAclsResponse, KillApplicationRequest, KillApplicationResponse,
    MoveApplicationAcrossQueuesRequest, MoveApplicationAcrossQueuesResponse, SignalToContainerRequest,
    SignalToContainerResponse, SubmitApplicationRequest, SubmitApplicationResponse,
    UpdateApplicationPriorityRequest, UpdateApplicationPriorityResponse, UpdateApplicationTimeoutsRequest,
    UpdateApplicationTimeoutsResponse,
};
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationAttemptReport, ApplicationId, ApplicationReport,
    ApplicationSubmissionContext, ApplicationTimeoutType, ApplicationTimeoutUpdate, ContainerId,
    ContainerReport, NodeIdToLabels, NodeLabel, QueueInfo, QueueUserAclInfo, SignalContainerCommand,
};

use super::rpc::{ClientError, ClientOptions, RpcClient};
use crate::pki::Identity;

/// Most entries asked for in a page; the ResourceManager may give fewer.
const PAGE: u32 = 256;

/// A client for applications, attempts, containers and queues.
#[derive(Debug)]
pub struct ApplicationClient {
    rpc: RpcClient,
}

impl ApplicationClient {
    /// Connects. The certificate's name is the user on whose behalf everything is done.
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

    /// The connection itself, for calls that have no method here.
    pub const fn rpc(&mut self) -> &mut RpcClient {
        &mut self.rpc
    }

    /// An id for a new application, and the largest container there may be.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn new_application(&mut self) -> Result<GetNewApplicationResponse, ClientError> {
        self.rpc.call(0, &GetNewApplicationRequest {}).await
    }

    /// Submits. Returns before the application is stored; its report says when it is ACCEPTED. Repeating it is harmless.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn submit(&mut self, context: ApplicationSubmissionContext) -> Result<(), ClientError> {
        let request = SubmitApplicationRequest { application_submission_context: context };
        let SubmitApplicationResponse {} = self.rpc.call(0, &request).await?;
        Ok(())
    }

    /// Asks for an application to be killed. True when it has ended; else ask again.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn kill(
        &mut self,
        application_id: ApplicationId,
        diagnostics: Option<String>,
    ) -> Result<bool, ClientError> {
        let request = KillApplicationRequest { application_id, diagnostics };
        let response: KillApplicationResponse = self.rpc.call(0, &request).await?;
        Ok(response.is_kill_completed)
    }

    /// Fails the current attempt; another follows if the application has any left.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn fail_attempt(&mut self, id: ApplicationAttemptId) -> Result<(), ClientError> {
        let request = FailApplicationAttemptRequest { application_attempt_id: id };
        let FailApplicationAttemptResponse {} = self.rpc.call(0, &request).await?;
        Ok(())
    }

    /// One application.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn report(&mut self, application_id: ApplicationId) -> Result<ApplicationReport, ClientError> {
        let response: GetApplicationReportResponse =
            self.rpc.call(0, &GetApplicationReportRequest { application_id }).await?;
        Ok(response.application_report)
    }

    /// Every application that `filter` lets through; its `after` and `limit` are set here.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn applications(
        &mut self,
        filter: &GetApplicationsRequest,
    ) -> Result<Vec<ApplicationReport>, ClientError> {
        let mut request = GetApplicationsRequest { after: None, limit: PAGE, ..filter.clone() };
        let mut found = Vec::new();
        loop {
            let page: GetApplicationsResponse = self.rpc.call(0, &request).await?;
            found.extend(page.applications);
            match page.next {
                None => return Ok(found),
                next => request.after = forward(Opcode::GetApplications, request.after, next)?,
            }
        }
    }

    /// One attempt.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn attempt(
        &mut self,
        id: ApplicationAttemptId,
    ) -> Result<ApplicationAttemptReport, ClientError> {
        let request = GetApplicationAttemptReportRequest { application_attempt_id: id };
        let response: GetApplicationAttemptReportResponse = self.rpc.call(0, &request).await?;
        Ok(response.application_attempt_report)
    }

    /// Every attempt of an application.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn attempts(
        &mut self,
        application_id: ApplicationId,
    ) -> Result<Vec<ApplicationAttemptReport>, ClientError> {
        let mut request = GetApplicationAttemptsRequest { application_id, after: None, limit: PAGE };
        let mut found = Vec::new();
        loop {
            let page: GetApplicationAttemptsResponse = self.rpc.call(0, &request).await?;
            found.extend(page.application_attempts);
            match page.next {
                None => return Ok(found),
                next => request.after = forward(Opcode::GetApplicationAttempts, request.after, next)?,
            }
        }
    }

    /// One live container.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn container(&mut self, container_id: ContainerId) -> Result<ContainerReport, ClientError> {
        let response: GetContainerReportResponse =
            self.rpc.call(0, &GetContainerReportRequest { container_id }).await?;
        Ok(response.container_report)
    }

    /// Every live container of an attempt.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn containers(
        &mut self,
        id: ApplicationAttemptId,
    ) -> Result<Vec<ContainerReport>, ClientError> {
        let mut request = GetContainersRequest { application_attempt_id: id, after: None, limit: PAGE };
        let mut found = Vec::new();
        loop {
            let page: GetContainersResponse = self.rpc.call(0, &request).await?;
            found.extend(page.containers);
            match page.next {
                None => return Ok(found),
                next => request.after = forward(Opcode::GetContainers, request.after, next)?,
            }
        }
    }

    /// Signals a container. It is delivered at most once.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn signal(
        &mut self,
        container_id: ContainerId,
        command: SignalContainerCommand,
    ) -> Result<(), ClientError> {
        let request = SignalToContainerRequest { container_id, command };
        let SignalToContainerResponse {} = self.rpc.call(0, &request).await?;
        Ok(())
    }

    /// Moves an application to another queue.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn move_to_queue(
        &mut self,
        application_id: ApplicationId,
        target_queue: &str,
    ) -> Result<(), ClientError> {
        let request =
            MoveApplicationAcrossQueuesRequest { application_id, target_queue: target_queue.to_owned() };
        let MoveApplicationAcrossQueuesResponse {} = self.rpc.call(0, &request).await?;
        Ok(())
    }

    /// Changes an application's priority. Returns the one in force: the cluster and the queue bound it.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn update_priority(
        &mut self,
        application_id: ApplicationId,
        application_priority: i32,
    ) -> Result<i32, ClientError> {
        let request = UpdateApplicationPriorityRequest { application_id, application_priority };
        let response: UpdateApplicationPriorityResponse = self.rpc.call(0, &request).await?;
        Ok(response.application_priority)
    }

    /// Sets when an application is killed, milliseconds since 1970. Returns the time in force.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn update_lifetime(
        &mut self,
        application_id: ApplicationId,
        expires_at_ms: u64,
    ) -> Result<u64, ClientError> {
        let timeout =
            ApplicationTimeoutUpdate { timeout_type: ApplicationTimeoutType::Lifetime, expires_at_ms };
        let request =
            UpdateApplicationTimeoutsRequest { application_id, application_timeouts: vec![timeout] };
        let response: UpdateApplicationTimeoutsResponse = self.rpc.call(0, &request).await?;
        Ok(response.application_timeouts.first().map_or(expires_at_ms, |timeout| timeout.expires_at_ms))
    }

    /// Why an application waits: at most `limit` asks one by one, all of them in the summary.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn explain(
        &mut self,
        application_id: ApplicationId,
        limit: u32,
    ) -> Result<ExplainApplicationResponse, ClientError> {
        self.rpc.call(0, &ExplainApplicationRequest { application_id, limit }).await
    }

    /// A queue, and where asked its children or all below it. Parents are before their children, by index.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn queues(
        &mut self,
        queue_name: &str,
        include_child_queues: bool,
        is_recursive: bool,
    ) -> Result<Vec<QueueInfo>, ClientError> {
        let mut request = GetQueueInfoRequest {
            queue_name: queue_name.to_owned(),
            include_child_queues,
            is_recursive,
            start: 0,
            limit: PAGE,
        };
        let mut found = Vec::new();
        loop {
            let page: GetQueueInfoResponse = self.rpc.call(0, &request).await?;
            found.extend(page.queues);
            match page.next {
                None => return Ok(found),
                next => {
                    let next = forward(Opcode::GetQueueInfo, Some(request.start), next)?;
                    request.start = next.unwrap_or_default();
                }
            }
        }
    }

    /// What the caller may do in each queue.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn queue_user_acls(&mut self) -> Result<Vec<QueueUserAclInfo>, ClientError> {
        let mut request = GetQueueUserAclsRequest { start: 0, limit: PAGE };
        let mut found = Vec::new();
        loop {
            let page: GetQueueUserAclsResponse = self.rpc.call(0, &request).await?;
            found.extend(page.queue_user_acls);
            match page.next {
                None => return Ok(found),
                next => {
                    let next = forward(Opcode::GetQueueUserAcls, Some(request.start), next)?;
                    request.start = next.unwrap_or_default();
                }
            }
        }
    }

    /// The labels of the cluster.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn node_labels(&mut self) -> Result<Vec<NodeLabel>, ClientError> {
        let response: GetClusterNodeLabelsResponse =
            self.rpc.call(0, &GetClusterNodeLabelsRequest {}).await?;
        Ok(response.node_labels)
    }

    /// Has the ResourceManager read its queues again: all of it is taken over, or nothing.
    ///
    /// # Errors
    /// A failed or refused call; a refusal carries every reason, one per line.
    pub async fn refresh_queues(&mut self) -> Result<RefreshQueuesResponse, ClientError> {
        self.rpc.call(0, &RefreshQueuesRequest {}).await
    }

    /// Has the ResourceManager read its administrators again.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn refresh_admin_acls(&mut self) -> Result<(), ClientError> {
        let RefreshAdminAclsResponse {} = self.rpc.call(0, &RefreshAdminAclsRequest {}).await?;
        Ok(())
    }

    /// Has the ResourceManager read the highest priority of an application again. Gives the one in force.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn refresh_cluster_max_priority(&mut self) -> Result<i32, ClientError> {
        let response: RefreshClusterMaxPriorityResponse =
            self.rpc.call(0, &RefreshClusterMaxPriorityRequest {}).await?;
        Ok(response.cluster_max_priority)
    }

    /// Has the ResourceManager read who is in which group again.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn refresh_groups(&mut self) -> Result<(), ClientError> {
        let RefreshUserToGroupsMappingsResponse {} =
            self.rpc.call(0, &RefreshUserToGroupsMappingsRequest {}).await?;
        Ok(())
    }

    /// The groups of a user, as the ResourceManager knows them.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn groups_for_user(&mut self, user: &str) -> Result<Vec<String>, ClientError> {
        let request = GetGroupsForUserRequest { user: user.to_owned() };
        let response: GetGroupsForUserResponse = self.rpc.call(0, &request).await?;
        Ok(response.groups)
    }

    /// Adds labels to the cluster. Returns how many were new.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn add_node_labels(&mut self, node_labels: Vec<NodeLabel>) -> Result<u32, ClientError> {
        let request = AddToClusterNodeLabelsRequest { node_labels };
        let response: AddToClusterNodeLabelsResponse = self.rpc.call(0, &request).await?;
        Ok(response.added_labels)
    }

    /// Removes labels from the cluster. Returns how many there were.
    ///
    /// # Errors
    /// A failed or refused call: a label that a queue names stays.
    pub async fn remove_node_labels(&mut self, node_labels: Vec<String>) -> Result<u32, ClientError> {
        let request = RemoveFromClusterNodeLabelsRequest { node_labels };
        let response: RemoveFromClusterNodeLabelsResponse = self.rpc.call(0, &request).await?;
        Ok(response.removed_labels)
    }

    /// Replaces the labels of nodes; port 0 = every NodeManager of the host. Returns how many nodes have other ones now.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn replace_labels_on_nodes(
        &mut self,
        node_to_labels: Vec<NodeIdToLabels>,
        fail_on_unknown_nodes: bool,
    ) -> Result<u32, ClientError> {
        let request = ReplaceLabelsOnNodesRequest { node_to_labels, fail_on_unknown_nodes };
        let response: ReplaceLabelsOnNodesResponse = self.rpc.call(0, &request).await?;
        Ok(response.affected_nodes)
    }

    /// Changes what nodes offer. Returns how many were changed.
    ///
    /// # Errors
    /// A failed or refused call.
    pub async fn update_node_resource(
        &mut self,
        node_resources: Vec<NodeResource>,
    ) -> Result<u32, ClientError> {
        let response: UpdateNodeResourceResponse =
            self.rpc.call(0, &UpdateNodeResourceRequest { node_resources }).await?;
        Ok(response.affected_nodes)
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.rpc.close().await;
    }
}

/// The start of the next page, which has to be past the last one's.
fn forward<T: Ord + core::fmt::Debug>(
    opcode: Opcode,
    before: Option<T>,
    next: Option<T>,
) -> Result<Option<T>, ClientError> {
    if next > before {
        return Ok(next);
    }
    let reason = format!("next is {next:?}, which is not past {before:?}");
    Err(ClientError::Unexpected { opcode, reason })
}
