//! RefreshQueues and its kin: reads the files of the scheduler's configuration and hands what is in them to the
//! application manager.
//! Owns: [`FilesService`] (one task, one refresh at a time), [`FilesDoor`], by which streams ask for it, and
//! [`SchedulerFiles`], the files as it knows them; and it asks the application manager on behalf of what others administrate.
//! Called by: stream tasks of every net thread. Thread: the service runs on `rm-net-0`, file reading on its helper.
//! Does not: decide who may refresh, or put anything in force: the application manager and the scheduler do.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use heddle_wire::administration::{
    RefreshAdminAclsRequest, RefreshAdminAclsResponse, RefreshClusterMaxPriorityRequest,
    RefreshClusterMaxPriorityResponse, RefreshQueuesRequest, RefreshQueuesResponse,
    RefreshUserToGroupsMappingsRequest, RefreshUserToGroupsMappingsResponse,
};
use heddle_wire::limits::{SHARDS_MAX, TEXT_MAX};
use heddle_wire::{DecodeError, Opcode, Reject, RejectCode};
use tokio::sync::{mpsc, oneshot};

use super::node_lists_service::RefreshError;
use crate::engine::application::settings::Groups;
use crate::engine::application::{ApplicationCommand, ApplicationReply};
use crate::engine::batch::Caller;
use crate::engine::scheduler::settings::{Acl, QueueTree};
use crate::ring::Full;
use crate::runtime::ApplicationCommandPort;

/// Calls waiting; each is an administrator's, who waits too. One of them may ask every shard at once.
const WAITING_MAX: usize = 4 * SHARDS_MAX;

/// How long the engine may take. It replaces queues within a cycle; past this something is badly wrong.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(30);

/// Files that can be read again while the ResourceManager runs. Called on a helper thread, where it may block.
pub trait SchedulerFiles: Debug + Send + Sync {
    /// The queues, checked, and what people should know about the file, one text each.
    ///
    /// # Errors
    /// Every reason, one per line.
    fn read_queues(&self) -> Result<(QueueTree, Vec<String>), String>;

    /// Who administrates the cluster.
    ///
    /// # Errors
    /// Every reason, one per line.
    fn read_admin_acl(&self) -> Result<Acl, String>;

    /// Users and their groups.
    ///
    /// # Errors
    /// Every reason, one per line.
    fn read_groups(&self) -> Result<Groups, String>;

    /// Highest priority of an application.
    ///
    /// # Errors
    /// Every reason, one per line.
    fn read_cluster_max_priority(&self) -> Result<i32, String>;
}

/// No files: what a ResourceManager was started with stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl NoFiles {
    fn refuse<T>() -> Result<T, String> {
        Err("this ResourceManager was started without a file to read again".to_owned())
    }
}

impl SchedulerFiles for NoFiles {
    fn read_queues(&self) -> Result<(QueueTree, Vec<String>), String> {
        Self::refuse()
    }

    fn read_admin_acl(&self) -> Result<Acl, String> {
        Self::refuse()
    }

    fn read_groups(&self) -> Result<Groups, String> {
        Self::refuse()
    }

    fn read_cluster_max_priority(&self) -> Result<i32, String> {
        Self::refuse()
    }
}

/// The answer to a refresh.
#[derive(Debug)]
pub(super) enum Refreshed {
    Queues(RefreshQueuesResponse),
    AdminAcls(RefreshAdminAclsResponse),
    Groups(RefreshUserToGroupsMappingsResponse),
    ClusterMaxPriority(RefreshClusterMaxPriorityResponse),
}

/// What is to be read.
#[derive(Clone, Copy, Debug)]
enum What {
    Queues,
    AdminAcls,
    Groups,
    ClusterMaxPriority,
}

/// What is to be done.
#[derive(Debug)]
enum Work {
    Refresh(What),
    /// The application manager is asked whether the caller may.
    CheckAccess,
    /// It is told what became of it.
    Audit(Option<Box<str>>),
}

/// A call of an administrator, as its audit line has it.
#[derive(Clone, Debug)]
pub(super) struct AdministratorCall {
    /// What.
    pub(super) opcode: Opcode,
    /// Who, from where.
    pub(super) caller: Caller,
    /// Nodes it names, in words; empty = none.
    pub(super) nodes: Box<str>,
}

struct Job {
    work: Work,
    call: AdministratorCall,
    answer: oneshot::Sender<Result<Option<Refreshed>, RefreshError>>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct FilesDoor {
    jobs: mpsc::Sender<Job>,
}

/// See the module.
pub(crate) struct FilesService {
    jobs: mpsc::Receiver<Job>,
    replies: mpsc::Receiver<ApplicationReply>,
    application: ApplicationCommandPort,
    files: Arc<dyn SchedulerFiles>,
    next_token: u64,
}

/// Makes the service and its door.
pub(crate) fn files_service(
    application: ApplicationCommandPort,
    replies: mpsc::Receiver<ApplicationReply>,
    files: Arc<dyn SchedulerFiles>,
) -> (FilesDoor, FilesService) {
    let (sender, jobs) = mpsc::channel(WAITING_MAX);
    (FilesDoor { jobs: sender }, FilesService { jobs, replies, application, files, next_token: 1 })
}

impl FilesDoor {
    /// Asks for a refresh and waits until it is in force.
    pub(super) async fn refresh(
        &self,
        opcode: Opcode,
        body: &[u8],
        caller: Caller,
    ) -> Result<Refreshed, RefreshError> {
        let what = what(opcode, body).map_err(RefreshError::Refused)?;
        let call = AdministratorCall { opcode, caller, nodes: Box::default() };
        let refreshed = self.ask(Work::Refresh(what), call).await?;
        refreshed.ok_or(RefreshError::Stopping)
    }

    /// Asks whether the caller may call a method of administration that is carried out elsewhere.
    pub(super) async fn check_access(&self, call: AdministratorCall) -> Result<(), RefreshError> {
        self.ask(Work::CheckAccess, call).await.map(|_| ())
    }

    /// Has the outcome of such a method audited.
    pub(super) async fn audit(
        &self,
        call: AdministratorCall,
        failure: Option<Box<str>>,
    ) -> Result<(), RefreshError> {
        self.ask(Work::Audit(failure), call).await.map(|_| ())
    }

    async fn ask(&self, work: Work, call: AdministratorCall) -> Result<Option<Refreshed>, RefreshError> {
        let (answer, answered) = oneshot::channel();
        match self.jobs.try_send(Job { work, call, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                let text = format!(
                    "{WAITING_MAX} calls of administrators are waiting, accepted are at most that many"
                );
                return Err(RefreshError::Refused(Reject::new(RejectCode::Busy, text)));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(RefreshError::Stopping),
        }
        answered.await.unwrap_or(Err(RefreshError::Stopping))
    }
}

/// What a request is about. Its body says nothing more, but has to be one.
fn what(opcode: Opcode, body: &[u8]) -> Result<What, Reject> {
    fn checked<T>(result: Result<T, DecodeError>, what: What) -> Result<What, Reject> {
        result.map(|_| what).map_err(|error| Reject::from(&error))
    }
    match opcode {
        Opcode::RefreshQueues => checked(heddle_wire::access::<RefreshQueuesRequest>(body), What::Queues),
        Opcode::RefreshAdminAcls => {
            checked(heddle_wire::access::<RefreshAdminAclsRequest>(body), What::AdminAcls)
        }
        Opcode::RefreshUserToGroupsMappings => {
            checked(heddle_wire::access::<RefreshUserToGroupsMappingsRequest>(body), What::Groups)
        }
        Opcode::RefreshClusterMaxPriority => {
            checked(heddle_wire::access::<RefreshClusterMaxPriorityRequest>(body), What::ClusterMaxPriority)
        }
        other => {
            let text = format!("{} reads no file", other.name());
            Err(Reject::new(RejectCode::Internal, text))
        }
    }
}

impl FilesService {
    /// Serves until every door is gone.
    pub(crate) async fn run(mut self) {
        while let Some(job) = self.jobs.recv().await {
            let result = self.work(job.work, job.call).await;
            // A caller that went away meanwhile has no use for the answer; what was read is in force.
            let _ = job.answer.send(result);
        }
    }

    async fn work(&mut self, work: Work, call: AdministratorCall) -> Result<Option<Refreshed>, RefreshError> {
        match work {
            Work::Refresh(what) => {
                // Before anything is read: what is wrong in the files is not everybody's to know.
                self.check_access(call.clone()).await?;
                self.refresh(what, call).await.map(Some)
            }
            Work::CheckAccess => self.check_access(call).await.map(|()| None),
            Work::Audit(failure) => self.audit(call, failure).await.map(|()| None),
        }
    }

    async fn check_access(&mut self, call: AdministratorCall) -> Result<(), RefreshError> {
        let AdministratorCall { opcode, caller, nodes } = call;
        let (token, opcode) = (self.token(), opcode as u16);
        match self.hand_over(ApplicationCommand::CheckAccess { token, caller, opcode, nodes }, token).await? {
            ApplicationReply::Refused { code, reasons, .. } => Err(refused(code, &reasons)),
            _ => Ok(()),
        }
    }

    async fn audit(
        &mut self,
        call: AdministratorCall,
        failure: Option<Box<str>>,
    ) -> Result<(), RefreshError> {
        let AdministratorCall { opcode, caller, nodes } = call;
        let (token, opcode) = (self.token(), opcode as u16);
        let command = ApplicationCommand::Audit { token, caller, opcode, nodes, failure };
        self.hand_over(command, token).await.map(|_| ())
    }

    fn token(&mut self) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        token
    }

    async fn refresh(&mut self, what: What, call: AdministratorCall) -> Result<Refreshed, RefreshError> {
        let token = self.token();
        let files = Arc::clone(&self.files);
        let asker = call.caller.clone();
        let read = tokio::task::spawn_blocking(move || read(&*files, what, token, asker));
        let failure = match read.await {
            Ok(Ok((command, warnings))) => return self.put_in_force(what, command, token, &warnings).await,
            Ok(Err(reasons)) => refused(RejectCode::BadField as u16, &reasons),
            Err(error) => {
                let text = format!("reading the files failed: {error}");
                refused(RejectCode::Internal as u16, &text)
            }
        };
        self.audit(call, Some(failure.reason())).await?;
        Err(failure)
    }

    /// Gives what was read to the application manager, which audits it.
    async fn put_in_force(
        &mut self,
        what: What,
        command: ApplicationCommand,
        token: u64,
        warnings: &[String],
    ) -> Result<Refreshed, RefreshError> {
        let maximum = match &command {
            ApplicationCommand::ReplaceClusterMaxPriority { maximum, .. } => *maximum,
            _ => 0,
        };
        match self.hand_over(command, token).await? {
            ApplicationReply::QueuesReplaced { queues, added, removed, changed, .. } => {
                tracing::info!(
                    queues,
                    added,
                    removed,
                    changed,
                    warnings = warnings.len(),
                    "queues refreshed"
                );
                Ok(Refreshed::Queues(RefreshQueuesResponse {
                    queues,
                    added_queues: added,
                    removed_queues: removed,
                    changed_queues: changed,
                    warnings: lines(&warnings.join("\n")),
                }))
            }
            ApplicationReply::Done { .. } => Ok(match what {
                What::Queues => Refreshed::Queues(RefreshQueuesResponse::default()),
                What::AdminAcls => Refreshed::AdminAcls(RefreshAdminAclsResponse {}),
                What::Groups => Refreshed::Groups(RefreshUserToGroupsMappingsResponse {}),
                What::ClusterMaxPriority => {
                    Refreshed::ClusterMaxPriority(RefreshClusterMaxPriorityResponse {
                        cluster_max_priority: maximum,
                    })
                }
            }),
            ApplicationReply::Refused { code, reasons, .. } => Err(refused(code, &reasons)),
        }
    }

    /// Gives the command to the application manager and waits for its answer.
    async fn hand_over(
        &mut self,
        mut command: ApplicationCommand,
        token: u64,
    ) -> Result<ApplicationReply, RefreshError> {
        let deadline = tokio::time::Instant::now() + ENGINE_TIMEOUT;
        let late = || {
            let text = format!("the application manager did not answer within {ENGINE_TIMEOUT:?}");
            refused(RejectCode::Internal as u16, &text)
        };
        while let Err(Full(back)) = self.application.commands.offer(command) {
            if tokio::time::Instant::now() >= deadline {
                return Err(late());
            }
            command = back;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.application.sleeper.notify(true);
        loop {
            match tokio::time::timeout_at(deadline, self.replies.recv()).await {
                Ok(Some(reply)) if token_of(&reply) == token => return Ok(reply),
                // An answer to a refresh that was given up.
                Ok(Some(_)) => {}
                Ok(None) => return Err(RefreshError::Stopping),
                Err(_) => return Err(late()),
            }
        }
    }
}

const fn token_of(reply: &ApplicationReply) -> u64 {
    match reply {
        ApplicationReply::QueuesReplaced { token, .. }
        | ApplicationReply::Done { token }
        | ApplicationReply::Refused { token, .. } => *token,
    }
}

type Read = (ApplicationCommand, Vec<String>);

fn read(files: &dyn SchedulerFiles, what: What, token: u64, caller: Caller) -> Result<Read, String> {
    Ok(match what {
        What::Queues => {
            let (queues, warnings) = files.read_queues()?;
            (ApplicationCommand::ReplaceQueues { token, caller, queues: Box::new(queues) }, warnings)
        }
        What::AdminAcls => {
            let admin_acl = files.read_admin_acl()?;
            (ApplicationCommand::ReplaceAdminAcl { token, caller, admin_acl }, Vec::new())
        }
        What::Groups => {
            let groups = files.read_groups()?;
            (ApplicationCommand::ReplaceGroups { token, caller, groups }, Vec::new())
        }
        What::ClusterMaxPriority => {
            let maximum = files.read_cluster_max_priority()?;
            (ApplicationCommand::ReplaceClusterMaxPriority { token, caller, maximum }, Vec::new())
        }
    })
}

fn refused(code: u16, reasons: &str) -> RefreshError {
    let code = RejectCode::ALL.iter().copied().find(|known| *known as u16 == code);
    RefreshError::Refused(Reject::new(code.unwrap_or(RejectCode::Internal), lines(reasons)))
}

/// As many whole lines as a text may have bytes, and how many more there are.
fn lines(text: &str) -> String {
    /// Room for the last line.
    const REST: usize = 32;
    if text.len() <= TEXT_MAX {
        return text.to_owned();
    }
    let cut = text.floor_char_boundary(TEXT_MAX - REST);
    let kept = text.get(..cut).unwrap_or_default();
    let kept = kept.rsplit_once('\n').map_or(kept, |(whole, _)| whole);
    let more = text.get(kept.len()..).unwrap_or_default().lines().filter(|line| !line.is_empty()).count();
    format!("{kept}\n… and {more} more")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::batch::PeerId;
    use crate::ring::MpscQueue;
    use crate::runtime::idle::Sleeper;

    #[derive(Debug)]
    struct Files(Result<QueueTree, String>);

    impl SchedulerFiles for Files {
        fn read_queues(&self) -> Result<(QueueTree, Vec<String>), String> {
            self.0.clone().map(|tree| (tree, vec!["a.xml:3: not used".to_owned()]))
        }
        fn read_admin_acl(&self) -> Result<Acl, String> {
            Ok(Acl::parse("root"))
        }
        fn read_groups(&self) -> Result<Groups, String> {
            NoFiles.read_groups()
        }
        fn read_cluster_max_priority(&self) -> Result<i32, String> {
            Ok(7)
        }
    }

    fn caller() -> Caller {
        Caller::new(PeerId(1), "root", true)
    }

    /// Runs a refresh against an application manager that answers with `reply`.
    fn refresh(
        files: impl SchedulerFiles + 'static,
        opcode: Opcode,
        reply: impl Fn(u64) -> ApplicationReply + 'static,
    ) -> (Result<Refreshed, RefreshError>, Vec<ApplicationCommand>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let commands = MpscQueue::new(1);
            let sleeper = Arc::new(Sleeper::for_current_thread());
            let port = ApplicationCommandPort { commands: commands.clone(), sleeper };
            let (sender, replies) = mpsc::channel(4);
            let (door, service) = files_service(port, replies, Arc::new(files));
            tokio::task::spawn_local(service.run());
            let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
            let taken = std::rc::Rc::clone(&seen);
            tokio::task::spawn_local(async move {
                loop {
                    if let Some(command) = commands.poll() {
                        // An answer to something that was given up comes first.
                        sender.send(ApplicationReply::Done { token: 0 }).await.unwrap();
                        sender.send(reply(command.token())).await.unwrap();
                        taken.borrow_mut().push(command);
                    }
                    tokio::task::yield_now().await;
                }
            });
            let result = door.refresh(opcode, &[], caller()).await;
            let commands = seen.borrow().clone();
            (result, commands)
        })
    }

    fn reject(result: Result<Refreshed, RefreshError>) -> Reject {
        match result {
            Err(RefreshError::Refused(reject)) => reject,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn queues_are_read_and_handed_over_with_who_asked() {
        let replaced =
            |token| ApplicationReply::QueuesReplaced { token, queues: 2, added: 1, removed: 0, changed: 1 };
        let (result, commands) = refresh(Files(Ok(QueueTree::default())), Opcode::RefreshQueues, replaced);
        let Ok(Refreshed::Queues(answer)) = result else { panic!("{result:?}") };
        assert_eq!((answer.queues, answer.added_queues, answer.changed_queues), (2, 1, 1));
        assert_eq!(answer.warnings, "a.xml:3: not used");
        let queues = Box::new(QueueTree::default());
        let opcode = Opcode::RefreshQueues as u16;
        assert_eq!(
            commands,
            [
                ApplicationCommand::CheckAccess { token: 1, caller: caller(), opcode, nodes: "".into() },
                ApplicationCommand::ReplaceQueues { token: 2, caller: caller(), queues }
            ]
        );
    }

    /// A refresh that failed over its files was in no audit log: the application manager never heard of it.
    #[test]
    fn what_cannot_be_read_changes_nothing_and_every_reason_is_told() {
        let files = Files(Err("a.xml:1: one\na.xml:2: two".to_owned()));
        let (result, commands) =
            refresh(files, Opcode::RefreshQueues, |token| ApplicationReply::Done { token });
        let reject = reject(result);
        assert_eq!(reject.code, RejectCode::BadField as u16);
        assert!(reject.message.contains("one\n") && reject.message.contains("two"), "{}", reject.message);
        let [_, ApplicationCommand::Audit { failure: Some(failure), .. }] = &*commands else {
            panic!("{commands:?}")
        };
        assert!(failure.contains("a.xml:2: two"), "{failure}");
    }

    #[test]
    fn a_refusal_of_the_engine_is_passed_on() {
        let refuse = |token| ApplicationReply::Refused {
            token,
            code: RejectCode::AccessControl as u16,
            reasons: "root may not".into(),
        };
        let files = Files(Err("nobody's to know".to_owned()));
        let (result, commands) = refresh(files, Opcode::RefreshQueues, refuse);
        assert_eq!(commands.len(), 1, "nothing is read for one who may not: {commands:?}");
        let reject = reject(result);
        assert_eq!((reject.code, &*reject.message), (RejectCode::AccessControl as u16, "root may not"));
    }

    #[test]
    fn the_priority_in_force_is_told() {
        let done = |token| ApplicationReply::Done { token };
        let (result, _) = refresh(Files(Ok(QueueTree::default())), Opcode::RefreshClusterMaxPriority, done);
        let Ok(Refreshed::ClusterMaxPriority(answer)) = result else { panic!("{result:?}") };
        assert_eq!(answer.cluster_max_priority, 7);
    }

    #[test]
    fn long_reasons_are_cut_between_lines_and_counted() {
        let text: Vec<String> = (0..1_000).map(|line| format!("capacity-scheduler.xml:{line}: ü")).collect();
        let cut = lines(&text.join("\n"));
        assert!(cut.len() <= TEXT_MAX, "{}", cut.len());
        let shown = cut.lines().count() - 1;
        assert!(cut.ends_with(&format!("… and {} more", 1_000 - shown)), "{cut}");
    }
}
