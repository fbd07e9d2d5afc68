//! The containers of one simulated NodeManager, and what the ResourceManager has been told of them.
//! Owner: [`Fleet`](super::Fleet). Called by: the fleet only, on the thread that owns it.
//! Does not: decide when to beat; it fills in what a beat says.
//! Invariants: `items` is sorted by id; `digest` covers exactly the items that are not complete; an item is `Told`
//! only after a beat that carried its present state was answered; a completed item stays until it is removed by name.

use heddle_wire::limits::{CONTAINER_STATUSES_MAX, REGISTER_CONTAINERS_MAX, REPORTS_MAX};
use heddle_wire::record::{
    ApplicationId, ContainerId, ContainerState, ContainerStatus, ContainerSubState, ContainerUpdate,
    ContainersDigest, EXIT_STATUS_ABORTED, EXIT_STATUS_INVALID, ExecutionType, NmContainerStatus, Resource,
    ResourceInformation,
};
use heddle_wire::resource_tracker::{NodeHeartbeatDetails, NodeHeartbeatRequest};

use crate::application::{Note, NoteKind};

/// Exit status of a container the ResourceManager ordered killed. Source: YARN ContainerExitStatus.
pub(super) const KILLED_BY_RESOURCEMANAGER: i32 = -106;
/// Exit status of a container killed because its application ended. Source: YARN ContainerExitStatus.
pub(super) const KILLED_AFTER_APP_COMPLETION: i32 = -107;

/// How much of an item's present state the ResourceManager knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    No,
    /// The beat that is out carries it.
    InFlight,
    Yes,
}

/// One container.
#[derive(Clone, Debug)]
struct Item {
    id: ContainerId,
    memory_mb: u32,
    virtual_cores: u16,
    is_complete: bool,
    told: Told,
    exit_status: i32,
    /// When its ApplicationMaster held the grant, until its start was reported; 0 for others.
    granted_us: u64,
    /// What it has besides memory and cores.
    extended: Box<[ResourceInformation]>,
}

impl Item {
    const fn state(&self) -> ContainerState {
        if self.is_complete { ContainerState::Complete } else { ContainerState::Running }
    }

    fn status(&self) -> ContainerStatus {
        ContainerStatus {
            container_id: self.id,
            state: self.state(),
            sub_state: if self.is_complete { ContainerSubState::Done } else { ContainerSubState::Running },
            execution_type: ExecutionType::Guaranteed,
            exit_status: self.exit_status,
            capability: Resource {
                extended: self.extended.to_vec(),
                ..Resource::new(u64::from(self.memory_mb), u32::from(self.virtual_cores))
            },
            diagnostics: String::new(),
            attributes: Vec::new(),
        }
    }
}

/// The containers of one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Containers {
    items: Vec<Item>,
    digest: ContainersDigest,
    /// The digest the beat that is out carries.
    pub digest_in_flight: ContainersDigest,
    /// The beat that is out, when it is not the plain one: a retry repeats it byte for byte, so that whichever of the
    /// two the ResourceManager applies, the answer settles the same items.
    pub in_flight: Vec<u8>,
    /// Some item is not `Told::Yes`.
    is_dirty: bool,
    /// A full report under way has come this far; the last id that was sent.
    report_cursor: Option<ContainerId>,
    /// The beat that is out is a part of a full report: whether it is the last.
    report_part: Option<bool>,
    /// Resource increases done, not yet in an answered beat; the first `increased_in_flight` are in the one that is out.
    increased: Vec<ContainerUpdate>,
    increased_in_flight: usize,
    /// Containers of ApplicationMasters.
    masters: Vec<ContainerId>,
    /// Memory and cores of what was reported complete for the first time since it was asked.
    freed: (u64, u64),
}

impl Containers {
    /// Containers that are not complete.
    pub(super) const fn digest(&self) -> ContainersDigest {
        self.digest
    }

    /// Completed containers that the ResourceManager has not named for removal.
    pub(super) fn completed(&self) -> usize {
        self.items.len() - self.digest.count as usize
    }

    /// A container was started.
    pub(super) fn start(&mut self, id: ContainerId, memory_mb: u32, virtual_cores: u16) {
        if let Err(index) = self.items.binary_search_by(|item| item.id.cmp(&id)) {
            let (told, exit_status) = (Told::No, EXIT_STATUS_INVALID);
            let item = Item {
                id,
                memory_mb,
                virtual_cores,
                is_complete: false,
                told,
                exit_status,
                granted_us: 0,
                extended: Box::default(),
            };
            self.items.insert(index, item);
            self.digest.add(&id);
            self.is_dirty = true;
        }
    }

    /// A container was started for a grant of `granted_us`; 0 where that is not of interest.
    pub(super) fn start_granted(&mut self, id: ContainerId, resource: &Resource, granted_us: u64) {
        let memory_mb = u32::try_from(resource.memory_mb).unwrap_or(u32::MAX);
        self.start(id, memory_mb, u16::try_from(resource.virtual_cores).unwrap_or(u16::MAX));
        if let Ok(index) = self.items.binary_search_by(|item| item.id.cmp(&id)) {
            let item = &mut self.items[index];
            item.granted_us = granted_us;
            item.extended = resource.extended.clone().into();
        }
    }

    /// The container is an ApplicationMaster's: whoever plays it is told when it is killed.
    pub(super) fn own(&mut self, id: ContainerId) {
        self.masters.push(id);
    }

    /// Its ApplicationMaster knows of its end.
    pub(super) fn disown(&mut self, id: &ContainerId) {
        self.masters.retain(|master| master != id);
    }

    /// Moves the ApplicationMasters that were killed to `killed`. Cost: nothing on a node without any.
    pub(super) fn take_killed(&mut self, killed: &mut Vec<ContainerId>) {
        let items = &self.items;
        self.masters.retain(|id| {
            let found = items.binary_search_by(|item| item.id.cmp(id)).ok();
            let runs = found.is_some_and(|index| !items[index].is_complete);
            if !runs {
                killed.push(*id);
            }
            runs
        });
    }

    /// Memory and cores of what runs.
    pub(super) fn used(&self) -> (u64, u64) {
        let running = self.items.iter().filter(|item| !item.is_complete);
        running.fold((0, 0), |sum, item| {
            (sum.0 + u64::from(item.memory_mb), sum.1 + u64::from(item.virtual_cores))
        })
    }

    /// Memory and cores of what the beat that was filled in last reported complete for the first time.
    pub(super) fn freed(&mut self) -> (u64, u64) {
        core::mem::take(&mut self.freed)
    }

    /// The running container at place `nth` ended by itself; `nth` is below the digest's count.
    pub(super) fn finish_nth(&mut self, nth: u32) {
        let mut running = self.items.iter_mut().filter(|item| !item.is_complete);
        if let Some(item) = running.nth(nth as usize) {
            Self::complete(item, &mut self.digest, 0);
            self.is_dirty = true;
        }
    }

    fn complete(item: &mut Item, digest: &mut ContainersDigest, exit_status: i32) {
        if !item.is_complete {
            item.is_complete = true;
            item.exit_status = exit_status;
            item.told = Told::No;
            digest.remove(&item.id);
        }
    }

    /// Ends a container if it runs. True when it did.
    pub(super) fn kill(&mut self, id: &ContainerId, exit_status: i32) -> bool {
        let Ok(index) = self.items.binary_search_by(|item| item.id.cmp(id)) else { return false };
        let was_running = !self.items[index].is_complete;
        Self::complete(&mut self.items[index], &mut self.digest, exit_status);
        self.is_dirty = true;
        was_running
    }

    /// The ResourceManager has passed on the completion: forget the container. True when it was known.
    pub(super) fn remove(&mut self, id: &ContainerId) -> bool {
        if let Ok(index) = self.items.binary_search_by(|item| item.id.cmp(id))
            && self.items[index].is_complete
        {
            self.items.remove(index);
            return true;
        }
        false
    }

    /// An application ended: its running containers are killed and reported once more, its completed ones forgotten.
    pub(super) fn clean_up(&mut self, application: ApplicationId) -> u32 {
        self.items.retain(|item| item.id.application_id() != application || !item.is_complete);
        self.kill_where(KILLED_AFTER_APP_COMPLETION, |id| id.application_id() == application)
    }

    /// The lease ran out, or the node was told to stop: nothing may go on running.
    pub(super) fn kill_all(&mut self) -> u32 {
        self.kill_where(EXIT_STATUS_ABORTED, |_| true)
    }

    fn kill_where(&mut self, exit_status: i32, is_meant: impl Fn(&ContainerId) -> bool) -> u32 {
        let before = self.digest.count;
        let meant = self.items.iter_mut().filter(|item| is_meant(&item.id));
        for item in meant {
            Self::complete(item, &mut self.digest, exit_status);
        }
        self.is_dirty = true;
        before - self.digest.count
    }

    /// The ResourceManager changed a container's size.
    pub(super) fn update(&mut self, update: ContainerUpdate) {
        let found = self.items.binary_search_by(|item| item.id.cmp(&update.container_id));
        let Some(item) = found.ok().map(|index| &mut self.items[index]).filter(|item| !item.is_complete)
        else {
            return;
        };
        item.memory_mb = u32::try_from(update.capability.memory_mb).unwrap_or(u32::MAX);
        item.virtual_cores = u16::try_from(update.capability.virtual_cores).unwrap_or(u16::MAX);
        item.told = Told::No;
        self.is_dirty = true;
        let is_known = |known: &ContainerUpdate| {
            known.container_id == update.container_id && known.version == update.version
        };
        if !self.increased.iter().any(is_known) && self.increased.len() < REPORTS_MAX {
            self.increased.push(update);
        }
    }

    /// True when a beat would carry nothing but the digest.
    pub(super) fn has_nothing_to_say(&self) -> bool {
        !self.is_dirty && self.completed() == 0 && self.increased.is_empty() && self.report_cursor.is_none()
    }

    /// True while more parts of a full report have to follow the one that was answered.
    pub(super) const fn is_reporting(&self) -> bool {
        self.report_cursor.is_some()
    }

    /// Fills in what this beat says: changes and unacknowledged completions, or the next part of a full report.
    pub(super) fn fill(&mut self, is_full_report: bool, beat: &mut NodeHeartbeatRequest) {
        beat.container_statuses.clear();
        beat.is_full_report = is_full_report;
        let cursor = self.report_cursor;
        let mut last = None;
        let mut wanted = self.items.iter_mut().filter(|item| {
            if is_full_report {
                // What changed behind the cursor goes along, or the digest of the last part would not fit.
                cursor.is_none_or(|cursor| item.id > cursor || item.told == Told::No)
            } else {
                item.is_complete || item.told != Told::Yes
            }
        });
        for item in wanted.by_ref().take(CONTAINER_STATUSES_MAX) {
            beat.container_statuses.push(item.status());
            if item.is_complete && item.told == Told::No {
                self.freed.0 += u64::from(item.memory_mb);
                self.freed.1 += u64::from(item.virtual_cores);
            }
            item.told = Told::InFlight;
            last = Some(item.id);
        }
        beat.is_continued = wanted.next().is_some();
        self.report_part = is_full_report.then_some(!beat.is_continued);
        if is_full_report {
            self.report_cursor = last.max(cursor).filter(|_| beat.is_continued);
        }
        self.increased_in_flight = self.increased.len();
        beat.details = (!self.increased.is_empty()).then(|| {
            Box::new(NodeHeartbeatDetails {
                increased_containers: self.increased.clone(),
                ..Default::default()
            })
        });
        beat.containers_digest = self.digest;
        self.digest_in_flight = self.digest;
    }

    /// The plain beat is out: it carries the digest and nothing else.
    pub(super) fn fill_plain(&mut self) {
        self.in_flight.clear();
        self.digest_in_flight = self.digest;
    }

    /// The beat that was out is answered: starts it reported are noted. True when it was the last part of a full report.
    pub(super) fn settle(&mut self, notes: Option<&mut Vec<Note>>) -> bool {
        if self.in_flight.is_empty() && self.report_part.is_none() && !self.is_dirty {
            return false;
        }
        let carried = self.items.iter_mut().filter(|item| item.told == Told::InFlight);
        match notes {
            None => carried.for_each(|item| item.told = Told::Yes),
            Some(notes) => carried.for_each(|item| {
                item.told = Told::Yes;
                if item.granted_us > 0 {
                    let since_us = core::mem::replace(&mut item.granted_us, 0);
                    notes.push(Note { kind: NoteKind::ContainerStart, since_us });
                }
            }),
        }
        self.is_dirty = self.items.iter().any(|item| item.told != Told::Yes);
        self.increased.drain(..self.increased_in_flight.min(self.increased.len()));
        self.increased_in_flight = 0;
        self.in_flight.clear();
        self.report_part.take() == Some(true)
    }

    /// What registration reports: everything, as far as one registration may.
    pub(super) fn register(
        &mut self,
        statuses: &mut Vec<NmContainerStatus>,
        applications: &mut Vec<ApplicationId>,
    ) {
        self.report_cursor = None;
        self.report_part = None;
        self.in_flight.clear();
        self.is_dirty = !self.items.is_empty();
        for (index, item) in self.items.iter_mut().enumerate() {
            let is_reported = index < REGISTER_CONTAINERS_MAX;
            item.told = if is_reported { Told::InFlight } else { Told::No };
            if !is_reported {
                continue;
            }
            let status = item.status();
            statuses.push(NmContainerStatus {
                container_id: item.id,
                container_state: status.state,
                execution_type: status.execution_type,
                exit_status: status.exit_status,
                capability: status.capability,
                priority: 0,
                creation_time_ms: item.id.application_id().cluster_timestamp,
                version: 0,
                allocation_request_id: -1,
                node_label_expression: String::new(),
                allocation_tags: Vec::new(),
                diagnostics: String::new(),
            });
            let application = item.id.application_id();
            if applications.last() != Some(&application) {
                applications.push(application);
            }
        }
    }
}
