//! How applications ended, by queue: the part of GetQueueInfo the scheduler does not know.
//! Owns: those clauses. Called by: the test harness. Does not: test what the scheduler counts.

use super::client::archive;
use super::*;
use heddle::engine::scheduler::settings::{Capacity, QueueSettings};

fn tree(leaves: &[&str]) -> QueueTree {
    let mut queues = QueueTree::default();
    for leaf in leaves {
        queues.queues.push(QueueSettings::leaf(leaf, Some(0), Capacity::Percent(0.0)));
    }
    queues
}

/// A scheduler that knows the queues and counts submissions, nothing else.
fn scheduler(command: &SchedulerCommand) -> Option<QueryReply> {
    let SchedulerCommand::Query { query: Query::Queue { .. }, .. } = command else { return None };
    let queue = |path: &str| QueueInfo {
        queue_path: path.to_owned(),
        statistics: QueueStatistics { applications_submitted: 9, ..QueueStatistics::default() },
        ..QueueInfo::default()
    };
    let queues = ["root", "root.default", "root.b"].map(queue).into();
    Some(QueryReply::Record(archive(&GetQueueInfoResponse { next: None, queues })))
}

/// Completed, killed, failed of root, root.default and root.b.
fn ended(rm: &mut Rm) -> [(u64, u64, u64); 3] {
    let request =
        GetQueueInfoRequest { queue_name: "root".to_owned(), limit: 512, ..GetQueueInfoRequest::default() };
    rm.send("ada", false, &request);
    let queues = rm.answer::<GetQueueInfoResponse>().expect("an answer").queues;
    let of = |queue: &QueueInfo| {
        let counts = &queue.statistics;
        assert_eq!(counts.applications_submitted, 9, "what the scheduler counts is left as it is");
        (counts.applications_completed, counts.applications_killed, counts.applications_failed)
    };
    [of(&queues[0]), of(&queues[1]), of(&queues[2])]
}

/// GetQueueInfo told 0 completed, killed and failed applications, whatever had happened: the scheduler answered it alone,
/// and it does not know how applications end.
#[test]
fn ends_are_counted_in_the_queue_and_those_above_it() {
    let mut rm = Rm::with(|_, queues| *queues = tree(&["root.b"]));
    rm.reply = scheduler;
    assert_eq!(ended(&mut rm), [(0, 0, 0); 3]);
    rm.finished();
    let (killed, first) = rm.running();
    rm.kill(killed);
    assert_eq!(ended(&mut rm)[0], (1, 1, 0), "once its end is stored, and once however often it is killed");
    rm.kill(killed);
    rm.end_am(first, 0);
    let failed = rm.submit(|context| (context.queue, context.max_app_attempts) = ("root.b".to_owned(), 1));
    rm.start_am(attempt(failed, 1));
    rm.end_am(attempt(failed, 1), 1);
    assert_eq!(rm.state(failed), YarnApplicationState::Failed);
    assert_eq!(ended(&mut rm), [(1, 1, 1), (1, 1, 0), (0, 0, 1)]);
    // What the scheduler did not take was never in a queue.
    rm.rejects = Some("no");
    rm.submit(|_| {});
    assert_eq!(ended(&mut rm), [(1, 1, 1), (1, 1, 0), (0, 0, 1)]);
}

#[test]
fn an_end_is_counted_where_the_application_was_moved_to() {
    let mut rm = Rm::with(|_, queues| *queues = tree(&["root.b"]));
    rm.reply = scheduler;
    let (id, first) = rm.running();
    let target_queue = "b".to_owned();
    rm.send("ada", false, &MoveApplicationAcrossQueuesRequest { application_id: id, target_queue });
    rm.answer::<MoveApplicationAcrossQueuesResponse>().expect("it is moved");
    rm.unregister(first);
    rm.end_am(first, 0);
    assert_eq!(ended(&mut rm), [(1, 0, 0), (0, 0, 0), (1, 0, 0)]);
}

#[test]
fn counts_outlive_the_applications_and_go_with_their_queue() {
    let mut rm = Rm::with(|settings, queues| {
        settings.max_completed_applications = 1;
        *queues = tree(&["root.b"]);
    });
    rm.reply = scheduler;
    for queue in ["default", "b", "b"] {
        let id = rm.submit(|context| context.queue = queue.to_owned());
        rm.kill(id);
    }
    assert_eq!(ended(&mut rm), [(0, 3, 0), (0, 1, 0), (0, 2, 0)], "two of the three are forgotten");
    let mut refresh = |leaves: &[&str]| {
        let caller = Caller::new(PeerId(1), "root", true);
        let queues = Box::new(tree(leaves));
        let reply = rm.command(ApplicationCommand::ReplaceQueues { token: 1, caller, queues });
        assert!(matches!(reply, ApplicationReply::QueuesReplaced { .. }), "{reply:?}");
        ended(&mut rm)
    };
    assert_eq!(refresh(&["root.b", "root.c"]), [(0, 3, 0), (0, 1, 0), (0, 2, 0)]);
    assert_eq!(
        refresh(&["root.c"]),
        [(0, 3, 0), (0, 1, 0), (0, 0, 0)],
        "as the scheduler: what is above counts on"
    );
    assert_eq!(refresh(&["root.b"]), [(0, 3, 0), (0, 1, 0), (0, 0, 0)], "a new queue of an old name is new");
}
