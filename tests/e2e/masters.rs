//! ApplicationMasters at the door: many of them, on every layout of threads, and one whose process vanishes.

use std::collections::BTreeSet;
use std::time::Duration;

use heddle_wire::RejectCode;
use heddle_wire::record::*;

use crate::cluster::{Setup, block_on};
use crate::peer::Pki;
use crate::yarn::{Client, Master, Node, ask, running, submission, until};

/// Scheduler and application manager with the shard, on one thread, on two: what peers see is the same.
#[test]
fn every_number_of_scheduler_threads_gives_a_working_resourcemanager() {
    let pki = Pki::new();
    for count in 0..=2 {
        let cluster = Setup::new().scheduler_threads(count).start(&pki);
        block_on(async {
            let mut node = Node::join(cluster.address(), &pki, "n1", Resource::new(4_096, 4)).await;
            let mut client = Client::connect(cluster.address(), &pki, "alice").await;
            let (application_id, mut master) = running(&cluster, &pki, &mut client, &mut node).await;
            let am_container = node.running[0];
            // Three fit beside the ApplicationMaster, the fourth when one has ended.
            master.allocate(vec![ask(4, 0)]).await;
            master.until_granted(3).await;
            node.start_all(&master.granted).await;
            node.end(master.granted[0].container_id, 0);
            node.beat().await;
            while master.granted.len() < 4 || master.completed.is_empty() {
                master.pushed().await;
            }
            let ids: BTreeSet<_> = master.granted.iter().map(|container| container.container_id).collect();
            assert_eq!((ids.len(), master.granted.len()), (4, 4), "{count} threads");
            master.finish().await;
            node.end(am_container, 0);
            node.beat().await;
            until(&cluster.metrics, YarnApplicationState::Finished, 1).await;
            let report = client.report(application_id).await;
            assert_eq!(report.final_application_status, FinalApplicationStatus::Succeeded, "{count} threads");
        });
        cluster.rm.stop();
    }
}

/// Every ApplicationMaster has a connection of its own, wherever the kernel puts it: each hears of its own containers and
/// of nobody else's.
#[test]
fn many_masters_on_several_net_threads_get_what_is_theirs() {
    const MASTERS: usize = 24;
    const EACH: usize = 5;
    let pki = Pki::new();
    let cluster = Setup::new().threads(3, 2).start(&pki);
    block_on(async {
        let size = Resource::new(1_024 * (MASTERS * (EACH + 1)) as u64, (MASTERS * (EACH + 1)) as u32);
        let mut node = Node::join(cluster.address(), &pki, "n1", size).await;
        let mut masters = Vec::new();
        for number in 0..MASTERS {
            let user = ["alice", "bob", "carol"][number % 3];
            let mut client = Client::connect(cluster.address(), &pki, user).await;
            let application_id = client.new_application().await;
            client.submit(submission(application_id)).await.unwrap();
            let launch = node.launch().await;
            assert_eq!((launch.container_id.application_id(), &*launch.user), (application_id, user));
            let mut master = Master::begin(cluster.address(), &pki, &launch).await;
            master.register().await;
            masters.push(master);
        }
        // All of them ask before anybody listens.
        for master in &mut masters {
            master.allocate(vec![ask(EACH as i32, 0)]).await;
        }
        for master in &mut masters {
            master.until_granted(EACH).await;
            assert_eq!(master.granted.len(), EACH);
        }
        let mut ids = BTreeSet::new();
        for master in &masters {
            for container in &master.granted {
                assert_eq!(container.container_id.application_attempt_id, master.attempt_id);
                assert!(ids.insert(container.container_id), "granted twice");
                node.start(container.container_id, container.resource.clone());
            }
        }
        assert_eq!(ids.len(), MASTERS * EACH);
        node.beat().await;
        for id in &ids {
            node.end(*id, 0);
        }
        node.beat().await;
        for master in &mut masters {
            while master.completed.len() < EACH {
                master.pushed().await;
            }
            let ended: BTreeSet<_> = master.completed.iter().map(|ended| ended.container_id).collect();
            let granted: BTreeSet<_> = master.granted.iter().map(|granted| granted.container_id).collect();
            assert_eq!(ended, granted);
        }
    });
    cluster.rm.stop();
}

/// The process is gone without a word and its node says nothing of it either: after the expiry the attempt fails, what it
/// had is stopped, and the next attempt runs to its end.
#[test]
fn a_master_that_vanishes_is_expired_and_its_application_tried_again() {
    let pki = Pki::new();
    let mut setup = Setup::new();
    setup.options.scheduler.am_expiry = Duration::from_millis(1_500);
    let cluster = setup.start(&pki);
    block_on(async {
        let mut node = Node::join(cluster.address(), &pki, "n1", Resource::new(8_192, 8)).await;
        let mut client = Client::connect(cluster.address(), &pki, "alice").await;
        let application_id = client.new_application().await;
        let context = ApplicationSubmissionContext { max_app_attempts: 2, ..submission(application_id) };
        client.submit(context).await.unwrap();
        let launch = node.launch().await;
        let mut first = Master::begin(cluster.address(), &pki, &launch).await;
        first.register().await;
        first.allocate(vec![ask(2, 0)]).await;
        first.until_granted(2).await;
        node.start_all(&first.granted).await;
        first.peer.connection.close(0_u32.into(), b"");

        let mut wanted: Vec<_> = first.granted.iter().map(|container| container.container_id).collect();
        wanted.push(launch.container_id);
        node.beat_until("told to stop what the first attempt had", |node| {
            wanted.iter().all(|container| node.cleaned_up.contains(container))
        })
        .await;
        for container in &wanted {
            node.end(*container, -106);
        }
        let launch = node.launch().await;
        let attempt_id = launch.container_id.application_attempt_id;
        assert_eq!((attempt_id.application_id, attempt_id.attempt_id), (application_id, 2));
        let mut second = Master::begin(cluster.address(), &pki, &launch).await;
        second.register().await;
        // Who speaks for the first attempt now is told that it is over.
        first.peer =
            crate::peer::Peer::connect(cluster.address(), &pki.issue(heddle::pki::Role::Client, "alice"))
                .await;
        let reject = first.try_allocate(&first.request(Vec::new())).await.unwrap_err();
        assert_eq!(reject.code, RejectCode::ApplicationAttemptNotFound as u16, "{reject:?}");
        second.allocate(vec![ask(3, 0)]).await;
        second.until_granted(3).await;
        let report = client.report(application_id).await;
        assert_eq!(report.current_application_attempt_id, Some(attempt_id));
        second.finish().await;
        node.end(launch.container_id, 0);
        node.beat().await;
        until(&cluster.metrics, YarnApplicationState::Finished, 1).await;
        let counters = cluster.metrics.applications().counters();
        assert_eq!((counters.attempts, counters.attempts_failed, counters.failed), (2, 1, 0));
    });
    cluster.rm.stop();
}
