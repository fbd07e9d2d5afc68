//! Applications from their submission to their end, through the door: what clients, nodes and ApplicationMasters see.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle::engine::application::settings::Groups;
use heddle::engine::scheduler::settings::{Acl, QueueTree};
use heddle::pki::Role;
use heddle::recorder::replay;
use heddle::runtime::SchedulerFiles;
use heddle_wire::administration::*;
use heddle_wire::application_client::GetApplicationReportRequest;
use heddle_wire::application_master::AllocateRequest;
use heddle_wire::record::*;
use heddle_wire::{Flags, RejectCode, decode, write_frame};

use crate::cluster::{Setup, block_on};
use crate::peer::{PATIENCE, Peer, Pki};
use crate::yarn::{Client, Node, ask, running, submission, until};

#[test]
fn an_application_runs_from_its_submission_to_its_end_and_replays() {
    let pki = Pki::new();
    let folder = tempfile::tempdir().unwrap();
    let cluster = Setup::new().threads(2, 2).record(folder.path()).start(&pki);
    block_on(async {
        let mut node = Node::join(cluster.address(), &pki, "n1", Resource::new(4_096, 4)).await;
        let mut client = Client::connect(cluster.address(), &pki, "alice").await;
        let (application_id, mut master) = running(&cluster, &pki, &mut client, &mut node).await;
        let am_container = node.running[0];

        // Three fit beside the ApplicationMaster; the fourth is pushed when one of them has ended.
        master.allocate(vec![ask(4, 0)]).await;
        master.until_granted(3).await;
        let usage = client.report(application_id).await.resource_usage;
        assert_eq!(usage.map(|usage| usage.num_used_containers), Some(4), "with the ApplicationMaster's");
        for container in &master.granted {
            assert_eq!((container.node, container.resource.memory_mb), (node.handle, 1_024));
            node.start(container.container_id, container.resource.clone());
        }
        node.beat().await;
        let first = master.granted[0].container_id;
        node.end(first, 7);
        node.beat().await;
        while master.granted.len() < 4 || master.completed.is_empty() {
            master.pushed().await;
        }
        assert!(master.pushes > 0);
        assert_eq!((master.completed[0].container_id, master.completed[0].exit_status), (first, 7));
        let ids: BTreeSet<_> = master.granted.iter().map(|container| container.container_id).collect();
        assert_eq!(ids.len(), 4, "a container is granted once");
        let numbers: Vec<_> = master.granted.iter().map(|container| container.grant_number).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);

        // What was seen is acknowledged, and the node may forget the container.
        master.allocate(Vec::new()).await;
        node.beat_until("told to forget what was delivered", |node| node.forgotten.contains(&first)).await;

        let last = &master.granted[3];
        node.start(last.container_id, last.resource.clone());
        node.beat().await;
        for container in master.granted[1..].iter().map(|container| container.container_id) {
            node.end(container, 0);
        }
        node.beat().await;
        while master.completed.len() < 3 {
            master.pushed().await;
        }
        master.finish().await;
        node.end(am_container, 0);
        node.beat().await;
        until(&cluster.metrics, YarnApplicationState::Finished, 1).await;
        assert!(client.kill(application_id).await, "it has ended, so there is nothing to kill");
        let report = client.report(application_id).await;
        assert_eq!(report.state, YarnApplicationState::Finished);
        assert_eq!(report.final_application_status, FinalApplicationStatus::Succeeded);
        assert!(report.user == "alice" && report.queue.ends_with("default"), "{report:?}");
        let counters = cluster.metrics.applications().counters();
        assert_eq!((counters.finished, counters.killed, counters.impossible_pairs), (1, 0, 0));
    });
    cluster.rm.stop();
    let report = replay(folder.path()).unwrap();
    let roles: Vec<_> = report.roles.iter().map(|role| role.role.rsplit('/').next().unwrap()).collect();
    assert_eq!(roles, ["application", "scheduler-0", "shard-0", "shard-1"]);
    assert!(report.is_identical(), "{report:?}");
    assert!(report.roles.iter().take(2).all(|role| role.frames > 0), "{report:?}");
}

#[test]
fn a_kill_ends_an_application_wherever_it_is() {
    let pki = Pki::new();
    // Every role on one thread.
    let cluster = Setup::new().scheduler_threads(0).start(&pki);
    block_on(async {
        let mut client = Client::connect(cluster.address(), &pki, "alice").await;
        // No node yet: it waits in its queue.
        let waiting = client.new_application().await;
        client.submit(submission(waiting)).await.unwrap();
        until(&cluster.metrics, YarnApplicationState::Accepted, 1).await;
        client.kill(waiting).await;
        until(&cluster.metrics, YarnApplicationState::Killed, 1).await;
        assert!(client.kill(waiting).await, "killing what is killed changes nothing");

        let mut node = Node::join(cluster.address(), &pki, "n1", Resource::new(4_096, 4)).await;
        let (running, mut master) = running(&cluster, &pki, &mut client, &mut node).await;
        let am_container = node.running[0];
        master.allocate(vec![ask(2, 0)]).await;
        master.until_granted(2).await;
        node.start_all(&master.granted).await;
        client.kill(running).await;
        until(&cluster.metrics, YarnApplicationState::Killed, 2).await;
        let mut wanted: Vec<_> = master.granted.iter().map(|container| container.container_id).collect();
        wanted.push(am_container);
        node.beat_until("told to stop everything of it", |node| {
            wanted.iter().all(|container| node.cleaned_up.contains(container))
        })
        .await;
        // The session is over.
        let reject = master.try_allocate(&master.request(Vec::new())).await.unwrap_err();
        assert_eq!(reject.code, RejectCode::ApplicationAttemptNotFound as u16, "{reject:?}");
    });
    cluster.rm.stop();
}

#[test]
fn a_node_that_is_lost_with_a_thousand_containers_tells_each_of_them_once() {
    const COUNT: usize = 1_000;
    let pki = Pki::new();
    let mut setup = Setup::new().patience(Duration::from_secs(20), Duration::from_secs(40));
    // The ApplicationMaster's node is patient, the other one is not.
    let mut classes = setup.options.shard.classes.to_vec();
    let mut hasty = classes[0].clone();
    hasty.name = "hasty".into();
    hasty.hosts = "b*".into();
    hasty.suspect_after = Duration::from_millis(1_000);
    hasty.lost_after = Duration::from_millis(2_000);
    classes.insert(0, hasty);
    setup.options.shard.classes = classes.into();
    let cluster = setup.start(&pki);
    block_on(async {
        let mut a = Node::join(cluster.address(), &pki, "a1", Resource::new(1_024, 1)).await;
        let mut client = Client::connect(cluster.address(), &pki, "alice").await;
        let (_, mut master) = running(&cluster, &pki, &mut client, &mut a).await;
        let b = Resource::new(1_024 * COUNT as u64, COUNT as u32);
        let mut b = Node::join(cluster.address(), &pki, "b1", b).await;
        master.allocate(vec![ask(COUNT as i32, 0)]).await;
        while master.granted.len() < COUNT {
            master.pushed().await;
            b.beat().await;
        }
        for container in &master.granted {
            b.start(container.container_id, container.resource.clone());
        }
        b.beat().await;
        master.allocate(Vec::new()).await;
        drop(b);
        while master.completed.len() < COUNT {
            master.pushed().await;
        }
        assert!(master.completed.iter().all(|container| container.exit_status == EXIT_STATUS_ABORTED));
        let granted: BTreeSet<_> = master.granted.iter().map(|container| container.container_id).collect();
        let ended: BTreeSet<_> = master.completed.iter().map(|container| container.container_id).collect();
        assert_eq!((granted.len(), &granted), (COUNT, &ended));
        // Nothing follows: the next answer has no event.
        master.allocate(Vec::new()).await;
        assert_eq!(master.completed.len(), COUNT);
    });
    assert_eq!(cluster.totals().1, 1, "one node was lost");
    cluster.rm.stop();
}

#[test]
fn bad_requests_are_refused_by_name_and_change_nothing() {
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    block_on(async {
        let mut node = Node::join(cluster.address(), &pki, "n1", Resource::new(8_192, 8)).await;
        let mut client = Client::connect(cluster.address(), &pki, "alice").await;

        // An id of another ResourceManager's, and one nobody gave out.
        let unknown = ApplicationId { cluster_timestamp: 1, id: 1 };
        let frame = client.call(&GetApplicationReportRequest { application_id: unknown }).await;
        assert_eq!(frame.reject().code, RejectCode::ApplicationNotFound as u16);

        // A queue that is not there, a parent queue.
        let mut failed = 0;
        for queue in ["nope", "root"] {
            let application_id = client.new_application().await;
            let context = ApplicationSubmissionContext { queue: queue.into(), ..submission(application_id) };
            if let Err(reject) = client.submit(context).await {
                assert!(reject.message.contains(queue), "{reject:?}");
            } else {
                failed += 1;
                until(&cluster.metrics, YarnApplicationState::Failed, failed).await;
            }
        }

        let (_, mut master) = running(&cluster, &pki, &mut client, &mut node).await;
        // Registered twice.
        let again = master.call(&master.registration()).await.reject();
        assert_eq!(again.code, RejectCode::InvalidApplicationMasterRequest as u16, "{again:?}");
        // Asks: a negative count, one above the largest container, an unknown label.
        let bad = [
            ("num_containers", ResourceRequest { num_containers: -1, ..ask(1, 0) }),
            ("memory", ResourceRequest { capability: Resource::new(1 << 30, 1), ..ask(1, 0) }),
            ("label", ResourceRequest { node_label_expression: Some("no-such".to_owned()), ..ask(1, 0) }),
        ];
        for (what, bad) in bad {
            let reject = master.try_allocate(&master.request(vec![ask(1, 0), bad])).await.unwrap_err();
            assert!(
                [RejectCode::InvalidResourceRequest as u16, RejectCode::InvalidLabelResourceRequest as u16]
                    .contains(&reject.code),
                "{what}: {reject:?}"
            );
        }
        // A release of somebody else's container.
        let mut foreign = master.granted.first().map_or(node.running[0], |container| container.container_id);
        foreign.application_attempt_id.application_id.id += 1_000;
        let request = AllocateRequest { releases: vec![foreign], ..master.request(Vec::new()) };
        let reject = master.try_allocate(&request).await.unwrap_err();
        assert_eq!(reject.code, RejectCode::InvalidContainerRelease as u16, "{reject:?}");
        // Of all that, nothing was applied: nothing is granted, and the response id is where it was.
        master.allocate(Vec::new()).await;
        assert!(master.granted.is_empty(), "{:?}", master.granted);
        // The request before is repeated: its answer again. One further back is refused.
        let repeated = AllocateRequest { response_id: master.response_id - 1, ..master.request(Vec::new()) };
        let answer = master.try_allocate(&repeated).await.unwrap();
        assert_eq!(answer.response_id, master.response_id);
        let ahead = AllocateRequest { response_id: 77, ..master.request(Vec::new()) };
        let reject = master.try_allocate(&ahead).await.unwrap_err();
        assert_eq!(reject.code, RejectCode::InvalidApplicationMasterRequest as u16, "{reject:?}");

        // Another certificate; the own one on another connection without the token, and with a false one.
        let mut token = master.token;
        token.mac[0] ^= 1;
        let cases = [
            ("eve", Some(master.token), RejectCode::NameNotAllowed),
            ("alice", None, RejectCode::InvalidToken),
            ("alice", Some(token), RejectCode::InvalidToken),
        ];
        for (user, am_rm_token, code) in cases {
            let mut stranger = Peer::connect(cluster.address(), &pki.issue(Role::Client, user)).await;
            let request = AllocateRequest { am_rm_token, ..master.request(Vec::new()) };
            stranger.request(5, master.handle.0, &request).await;
            let reject = stranger.expect().await.reject();
            assert_eq!(reject.code, code as u16, "{user}: {reject:?}");
        }
        // The session goes on where it was.
        master.allocate(Vec::new()).await;
        until(&cluster.metrics, YarnApplicationState::Running, 1).await;
    });
    cluster.rm.stop();
}

/// The ApplicationMaster's connection breaks; on the next one it proves itself by its token and is told what it missed.
#[test]
fn a_master_that_comes_back_on_another_stream_is_told_what_it_missed() {
    let pki = Pki::new();
    let cluster = Setup::new().start(&pki);
    block_on(async {
        let mut node = Node::join(cluster.address(), &pki, "n1", Resource::new(4_096, 4)).await;
        let mut client = Client::connect(cluster.address(), &pki, "alice").await;
        let (_, mut master) = running(&cluster, &pki, &mut client, &mut node).await;
        master.allocate(vec![ask(2, 0)]).await;
        master.until_granted(2).await;
        node.start_all(&master.granted).await;
        master.peer.connection.close(0_u32.into(), b"");
        node.end(master.granted[0].container_id, 3);
        node.beat().await;
        master.peer = Peer::connect(cluster.address(), &pki.issue(Role::Client, "alice")).await;
        let deadline = Instant::now() + PATIENCE;
        while master.completed.is_empty() {
            assert!(Instant::now() < deadline);
            let request = AllocateRequest { am_rm_token: Some(master.token), ..master.request(Vec::new()) };
            let answer = master.try_allocate(&request).await.unwrap();
            master.response_id = answer.response_id;
            let seen = master.events_seen;
            // What was pushed to the stream that died comes again, by its number.
            for (index, completed) in answer.completed_container_statuses.into_iter().enumerate() {
                let number = answer.first_event + answer.allocated_containers.len() as u64 + index as u64;
                if number > seen {
                    master.events_seen = number;
                    master.completed.push(completed);
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(master.completed[0].container_id, master.granted[0].container_id);
        assert_eq!(master.completed[0].exit_status, 3);
    });
    cluster.rm.stop();
}

/// Everything that was read before the stop is answered, although the answers come by way of three threads.
#[test]
fn a_stop_answers_what_was_accepted() {
    const CALLS: u64 = 300;
    let pki = Pki::new();
    let cluster = Setup::new().threads(1, 1).start(&pki);
    let metrics = cluster.metrics.clone();
    let answered = block_on(async {
        let mut client = Client::connect(cluster.address(), &pki, "alice").await;
        let application_id = client.new_application().await;
        client.submit(submission(application_id)).await.unwrap();
        until(&cluster.metrics, YarnApplicationState::Accepted, 1).await;
        let mut bytes = Vec::new();
        for id in 0..CALLS {
            let request = GetApplicationReportRequest { application_id };
            write_frame(&mut bytes, Flags::REQUEST, 1_000 + id, 0, &request);
        }
        client.peer.send(&bytes).await;
        let mut answered = BTreeSet::from([client.peer.expect().await.header.correlation_id]);
        let rm = cluster.rm;
        let stopping = tokio::task::spawn_blocking(move || rm.stop());
        while let Some(frame) = client.peer.next().await {
            let code = frame.header.flags.is_reject().then(|| frame.reject().code);
            assert_ne!(code, Some(RejectCode::Internal as u16));
            if code != Some(RejectCode::ShuttingDown as u16) {
                assert!(answered.insert(frame.header.correlation_id), "answered twice");
            }
        }
        stopping.await.unwrap();
        assert!(answered.iter().copied().eq(1_000..1_000 + answered.len() as u64), "{answered:?}");
        answered.len() as u64
    });
    // Two calls came before. What was read after the stop was refused; after the last answers the door was shut.
    let door = &metrics.transports()[0].1;
    let refused = door.rejects(RejectCode::ShuttingDown);
    assert_eq!(door.frames_in.get() - refused, answered + 2, "{refused} refused");
}

/// The queues as somebody has written them.
#[derive(Debug)]
struct Files(Result<QueueTree, String>);

impl SchedulerFiles for Files {
    fn read_queues(&self) -> Result<(QueueTree, Vec<String>), String> {
        Ok((self.0.clone()?, vec!["a.xml:3: has no effect".to_owned()]))
    }

    fn read_admin_acl(&self) -> Result<Acl, String> {
        Ok(Acl::all())
    }

    fn read_groups(&self) -> Result<Groups, String> {
        Ok(Groups::from([("alice".into(), vec!["ops".into(), "users".into()])]))
    }

    fn read_cluster_max_priority(&self) -> Result<i32, String> {
        Ok(9)
    }
}

#[test]
fn an_administrator_has_files_read_again() {
    let pki = Pki::new();
    let mut setup = Setup::new();
    setup.options.files = Arc::new(Files(Err("a.xml:1: one\na.xml:2: two".to_owned())));
    let cluster = setup.start(&pki);
    block_on(async {
        let mut admin = Peer::connect(cluster.address(), &pki.issue(Role::Admin, "root")).await;
        admin.request(1, 0, &RefreshQueuesRequest {}).await;
        let reject = admin.expect().await.reject();
        assert_eq!(reject.message, "a.xml:1: one\na.xml:2: two", "every reason, and nothing is changed");
        admin.request(2, 0, &RefreshUserToGroupsMappingsRequest {}).await;
        let frame = admin.expect().await;
        assert!(!frame.header.flags.is_reject(), "{:?}", frame.reject());
        admin.request(3, 0, &GetGroupsForUserRequest { user: "alice".to_owned() }).await;
        let frame = admin.expect().await;
        let answer: GetGroupsForUserResponse = decode(&frame.body).unwrap();
        assert_eq!(answer.groups, ["ops", "users"]);
        // A client may not.
        let mut client = Peer::connect(cluster.address(), &pki.issue(Role::Client, "alice")).await;
        client.request(4, 0, &RefreshQueuesRequest {}).await;
        assert_eq!(client.expect().await.reject().code, RejectCode::RoleNotAllowed as u16);
    });
    cluster.rm.stop();
}
