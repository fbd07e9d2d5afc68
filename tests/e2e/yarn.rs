//! A client, a node and an ApplicationMaster made of frames: enough of each to run an application.

use std::net::SocketAddr;
use std::time::Instant;

use heddle::metrics::Metrics;
use heddle::pki::Role;
use heddle_wire::application_client::*;
use heddle_wire::application_master::*;
use heddle_wire::record::*;
use heddle_wire::resource_tracker::NodeHeartbeatResponse;
use heddle_wire::{Reject, WriteMessage, decode};

use crate::cluster::Cluster;
use crate::peer::{PATIENCE, Peer, Pki, Received, heartbeat, registration};

/// A client with its own connection.
pub(crate) struct Client {
    pub(crate) peer: Peer,
    next: u64,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, pki: &Pki, user: &str) -> Self {
        Self { peer: Peer::connect(address, &pki.issue(Role::Client, user)).await, next: 1 }
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call(&mut self, message: &impl WriteMessage) -> Received {
        self.next += 1;
        self.peer.request(self.next, 0, message).await;
        let frame = self.peer.expect().await;
        assert_eq!(frame.header.correlation_id, self.next);
        frame
    }

    pub(crate) async fn new_application(&mut self) -> ApplicationId {
        let frame = self.call(&GetNewApplicationRequest {}).await;
        assert!(!frame.header.flags.is_reject(), "{:?}", frame.reject());
        decode::<GetNewApplicationResponse>(&frame.body).unwrap().application_id
    }

    /// Submits; repeats it as a client does while it is told Busy.
    pub(crate) async fn submit(&mut self, context: ApplicationSubmissionContext) -> Result<(), Reject> {
        let request = SubmitApplicationRequest { application_submission_context: context };
        let frame = self.call(&request).await;
        if frame.header.flags.is_reject() {
            return Err(frame.reject());
        }
        decode::<SubmitApplicationResponse>(&frame.body).unwrap();
        Ok(())
    }

    pub(crate) async fn report(&mut self, application_id: ApplicationId) -> ApplicationReport {
        let frame = self.call(&GetApplicationReportRequest { application_id }).await;
        assert!(!frame.header.flags.is_reject(), "{:?}", frame.reject());
        decode::<GetApplicationReportResponse>(&frame.body).unwrap().application_report
    }

    pub(crate) async fn kill(&mut self, application_id: ApplicationId) -> bool {
        let request = KillApplicationRequest { application_id, diagnostics: Some("enough".to_owned()) };
        let frame = self.call(&request).await;
        assert!(!frame.header.flags.is_reject(), "{:?}", frame.reject());
        decode::<KillApplicationResponse>(&frame.body).unwrap().is_kill_completed
    }
}

/// Waits until `count` applications are in a state, by the published numbers.
pub(crate) async fn until(metrics: &Metrics, state: YarnApplicationState, count: u32) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counters = metrics.applications().counters();
        if counters.applications_by_state[state as usize - 1] == count {
            return;
        }
        assert!(Instant::now() < deadline, "never {count} {state:?}: {counters:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// An application whose ApplicationMaster runs on `node` and has registered.
pub(crate) async fn running(
    cluster: &Cluster,
    pki: &Pki,
    client: &mut Client,
    node: &mut Node,
) -> (ApplicationId, Master) {
    let application_id = client.new_application().await;
    client.submit(submission(application_id)).await.unwrap();
    let launch = node.launch().await;
    assert_eq!(launch.container_id.application_attempt_id.application_id, application_id);
    assert_eq!((&*launch.user, launch.launch_context.commands.len()), ("alice", 1));
    let mut master = Master::begin(cluster.address(), pki, &launch).await;
    let registered: RegisterApplicationMasterResponse = master.register().await;
    assert_eq!((registered.attempt_handle, &*registered.queue), (launch.attempt_handle, "root.default"));
    until(&cluster.metrics, YarnApplicationState::Running, 1).await;
    (application_id, master)
}

/// An application whose ApplicationMaster is tried once.
pub(crate) fn submission(application_id: ApplicationId) -> ApplicationSubmissionContext {
    let max_app_attempts = 1;
    ApplicationSubmissionContext { max_app_attempts, ..crate::submission::submission(application_id) }
}

/// A node that starts what it is told to, and ends containers when the test says so.
pub(crate) struct Node {
    pub(crate) peer: Peer,
    pub(crate) handle: NodeHandle,
    response_id: u32,
    acknowledged: u32,
    digest: ContainersDigest,
    changes: Vec<ContainerStatus>,
    pub(crate) running: Vec<ContainerId>,
    pub(crate) launches: Vec<ContainerLaunch>,
    pub(crate) cleaned_up: Vec<ContainerId>,
    pub(crate) forgotten: Vec<ContainerId>,
}

impl Node {
    pub(crate) async fn join(address: SocketAddr, pki: &Pki, host: &str, capability: Resource) -> Self {
        let mut peer = Peer::connect(address, &pki.issue(Role::Node, host)).await;
        let node_id = NodeId::new(host, 45_454);
        let mut request = registration(node_id.clone());
        request.capability = capability;
        peer.request(1, node_id.routing_key(), &request).await;
        let frame = peer.expect().await;
        assert!(!frame.header.flags.is_reject(), "{:?}", frame.reject());
        let answer: heddle_wire::resource_tracker::RegisterNodeManagerResponse = decode(&frame.body).unwrap();
        assert_eq!(answer.node_action, NodeAction::Normal, "{}", answer.diagnostics);
        let mut node = Self {
            peer,
            handle: answer.node_handle,
            response_id: 0,
            acknowledged: 0,
            digest: ContainersDigest::default(),
            changes: Vec::new(),
            running: Vec::new(),
            launches: Vec::new(),
            cleaned_up: Vec::new(),
            forgotten: Vec::new(),
        };
        node.beat().await;
        node
    }

    /// Beats once, telling what changed, and takes in the orders of the answer and of pushes before it.
    pub(crate) async fn beat(&mut self) {
        let mut beat = heartbeat(self.handle, self.response_id);
        let changes = core::mem::take(&mut self.changes);
        assert!(changes.len() <= 1_024, "more than a beat holds");
        beat.container_statuses = changes;
        beat.containers_digest = self.digest;
        beat.acknowledged_command = self.acknowledged;
        self.peer.request(u64::from(self.response_id) + 10, self.handle.0, &beat).await;
        loop {
            let frame = self.peer.expect().await;
            assert!(!frame.header.flags.is_reject(), "{:?}", frame.reject());
            let answer: NodeHeartbeatResponse = decode(&frame.body).unwrap();
            assert_eq!(answer.node_action, NodeAction::Normal);
            assert!(!answer.is_full_report_requested, "the digests are not the same");
            self.take(&answer);
            if !frame.header.flags.is_push() {
                self.response_id = answer.response_id;
                return;
            }
        }
    }

    fn take(&mut self, answer: &NodeHeartbeatResponse) {
        let Some(commands) = &answer.commands else { return };
        // Orders are repeated until acknowledged: those of before are known by their number.
        let first_new = self.acknowledged;
        self.acknowledged = self.acknowledged.max(commands.last_sequence);
        for launch in &commands.containers_to_launch {
            if launch.sequence > first_new {
                self.launches.push(launch.clone());
            }
        }
        if commands.last_sequence > first_new {
            self.cleaned_up.extend(&commands.containers_to_cleanup);
            self.forgotten.extend(&commands.containers_to_be_removed_from_nm);
        }
    }

    /// Beats until `done` says so.
    pub(crate) async fn beat_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{} never: {what}", self.handle);
            self.beat().await;
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// A container runs from now on; told with the next beat.
    pub(crate) fn start(&mut self, container_id: ContainerId, capability: Resource) {
        self.digest.add(&container_id);
        self.running.push(container_id);
        self.changes.push(status(container_id, ContainerState::Running, -1_000, capability));
    }

    /// Starts what was granted, and tells of it.
    pub(crate) async fn start_all(&mut self, granted: &[Container]) {
        granted.iter().for_each(|container| self.start(container.container_id, container.resource.clone()));
        self.beat().await;
    }

    /// A container has ended; told with the next beat.
    pub(crate) fn end(&mut self, container_id: ContainerId, exit_status: i32) {
        self.digest.remove(&container_id);
        self.running.retain(|running| *running != container_id);
        let capability = Resource::new(1_024, 1);
        self.changes.push(status(container_id, ContainerState::Complete, exit_status, capability));
    }

    /// Waits for the order to start an ApplicationMaster, and starts it.
    pub(crate) async fn launch(&mut self) -> ContainerLaunch {
        self.beat_until("an order to launch", |node| !node.launches.is_empty()).await;
        let launch = self.launches.remove(0);
        self.start(launch.container_id, launch.resource.clone());
        self.beat().await;
        launch
    }
}

fn status(
    container_id: ContainerId,
    state: ContainerState,
    exit_status: i32,
    capability: Resource,
) -> ContainerStatus {
    let is_done = state == ContainerState::Complete;
    ContainerStatus {
        container_id,
        state,
        sub_state: if is_done { ContainerSubState::Done } else { ContainerSubState::Running },
        execution_type: ExecutionType::Guaranteed,
        exit_status,
        capability,
        diagnostics: String::new(),
        attributes: Vec::new(),
    }
}

/// An ApplicationMaster.
pub(crate) struct Master {
    pub(crate) peer: Peer,
    pub(crate) handle: AttemptHandle,
    pub(crate) attempt_id: ApplicationAttemptId,
    pub(crate) token: TokenMac,
    pub(crate) response_id: u32,
    pub(crate) events_seen: u64,
    pub(crate) granted: Vec<Container>,
    pub(crate) completed: Vec<CompletedContainer>,
    pub(crate) pushes: u32,
    next: u64,
}

impl Master {
    /// What a launched ApplicationMaster knows, on a connection of its own.
    pub(crate) async fn begin(address: SocketAddr, pki: &Pki, launch: &ContainerLaunch) -> Self {
        Self {
            peer: Peer::connect(address, &pki.issue(Role::Client, &launch.user)).await,
            handle: launch.attempt_handle,
            attempt_id: launch.container_id.application_attempt_id,
            token: launch.am_rm_token,
            response_id: 0,
            events_seen: 0,
            granted: Vec::new(),
            completed: Vec::new(),
            pushes: 0,
            next: 1,
        }
    }

    pub(crate) fn registration(&self) -> RegisterApplicationMasterRequest {
        RegisterApplicationMasterRequest {
            application_attempt_id: self.attempt_id,
            am_rm_token: self.token,
            host: "am-host".to_owned(),
            rpc_port: 1,
            tracking_url: "http://am-host/".to_owned(),
            placement_constraints: Vec::new(),
        }
    }

    /// Sends a request and waits for its answer, taking in pushes before it.
    pub(crate) async fn call(&mut self, message: &impl WriteMessage) -> Received {
        self.next += 1;
        self.peer.request(self.next, self.handle.0, message).await;
        loop {
            let frame = self.peer.expect().await;
            if !frame.header.flags.is_push() {
                assert_eq!(frame.header.correlation_id, self.next);
                return frame;
            }
            self.take_push(&frame);
        }
    }

    pub(crate) async fn register(&mut self) -> RegisterApplicationMasterResponse {
        let frame = self.call(&self.registration()).await;
        assert!(!frame.header.flags.is_reject(), "{:?}", frame.reject());
        decode(&frame.body).unwrap()
    }

    /// One allocate as it is; the answer may be a reject.
    pub(crate) async fn try_allocate(
        &mut self,
        request: &AllocateRequest,
    ) -> Result<AllocateResponse, Reject> {
        let frame = self.call(request).await;
        if frame.header.flags.is_reject() {
            return Err(frame.reject());
        }
        Ok(decode(&frame.body).unwrap())
    }

    pub(crate) fn request(&self, asks: Vec<ResourceRequest>) -> AllocateRequest {
        AllocateRequest {
            response_id: self.response_id,
            events_seen: self.events_seen,
            progress: 0.5,
            asks,
            ..AllocateRequest::default()
        }
    }

    pub(crate) async fn allocate(&mut self, asks: Vec<ResourceRequest>) {
        let answer = self.try_allocate(&self.request(asks)).await.unwrap();
        assert_eq!(answer.response_id, self.response_id + 1);
        self.response_id = answer.response_id;
        self.take(answer);
    }

    fn take(&mut self, answer: AllocateResponse) {
        let count = answer.allocated_containers.len() + answer.completed_container_statuses.len();
        if count == 0 {
            return;
        }
        assert_eq!(answer.first_event, self.events_seen + 1, "events are told once and in order");
        self.events_seen += count as u64;
        self.granted.extend(answer.allocated_containers);
        self.completed.extend(answer.completed_container_statuses);
    }

    fn take_push(&mut self, frame: &Received) {
        let answer: AllocateResponse = decode(&frame.body).unwrap();
        assert_eq!(answer.response_id, self.response_id, "a push changes no id");
        self.pushes += 1;
        self.take(answer);
    }

    /// Waits for a push, without asking for anything.
    pub(crate) async fn pushed(&mut self) {
        let frame = self.peer.expect().await;
        assert!(frame.header.flags.is_push(), "{:?}", frame.header);
        self.take_push(&frame);
    }

    /// Waits for pushes until so many containers were granted.
    pub(crate) async fn until_granted(&mut self, count: usize) {
        while self.granted.len() < count {
            self.pushed().await;
        }
    }

    /// Finishes, repeating it until the final state is stored.
    pub(crate) async fn finish(&mut self) {
        let request = FinishApplicationMasterRequest {
            diagnostics: "done".to_owned(),
            tracking_url: String::new(),
            final_application_status: FinalApplicationStatus::Succeeded,
            am_rm_token: None,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let frame = self.call(&request).await;
            assert!(!frame.header.flags.is_reject(), "{:?}", frame.reject());
            if decode::<FinishApplicationMasterResponse>(&frame.body).unwrap().is_unregistered {
                return;
            }
            assert!(Instant::now() < deadline, "never unregistered");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
}

/// An ask for containers of 1,024 MiB and a core, anywhere, exactly.
pub(crate) fn ask(count: i32, grants_seen: u64) -> ResourceRequest {
    ResourceRequest {
        priority: 1,
        allocation_request_id: -1,
        resource_name: ResourceName::Any,
        capability: Resource::new(1_024, 1),
        num_containers: count,
        relax_locality: true,
        node_label_expression: None,
        execution_type: ExecutionType::Guaranteed,
        enforce_execution_type: false,
        grants_seen: Some(grants_seen),
    }
}
