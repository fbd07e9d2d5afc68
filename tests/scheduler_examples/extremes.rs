//! Asks, releases and blacklists at the ends of their ranges, as an ApplicationMaster may send them.

use heddle::engine::scheduler::face::{Ask, Place, ResourceScheduler, SchedulerKey};
use heddle::engine::scheduler::message::Attempt;
use heddle::engine::scheduler::resource::ResourceVector;
use heddle::engine::time::Duration;
use heddle_wire::record::{ApplicationId, ContainerId};

use crate::cluster::{Cluster, attempt_id, settings, size, tree};

/// Sends an ask as the door does: what passes the check is set.
fn ask(cluster: &mut Cluster, attempt: Attempt, ask: &Ask<'_>) -> bool {
    let is_good = cluster.scheduler.check_ask(attempt, ask).is_ok();
    if is_good {
        cluster.scheduler.update_ask(cluster.now, attempt, ask);
    }
    is_good
}

#[test]
fn asks_at_the_ends_of_every_range_leave_the_books_right() {
    let mut cluster = Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])));
    cluster.node(8);
    let (app, bystander) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "a"));
    cluster.ask(bystander, 1, 2);
    let long = "x".repeat(255);
    let places = [
        Place::Any,
        Place::Host(""),
        Place::Host("n0"),
        Place::Host(&long),
        Place::Rack(""),
        Place::Rack("r0"),
    ];
    let sizes =
        [ResourceVector::ZERO, size(1, 1), size(1_024, 1_024), ResourceVector::new(u64::MAX, u64::MAX)];
    let labels = [None, Some(""), Some("nowhere"), Some("a&&b"), Some(long.as_str())];
    let keys = [
        (i32::MIN, i64::MIN),
        (i32::MIN, i64::MAX),
        (-1, -1),
        (0, 0),
        (i32::MAX, i64::MIN),
        (i32::MAX, i64::MAX),
    ];
    let most = u32::try_from(i32::MAX).unwrap();
    let mut refused = 0;
    for count in [most, 0, 1, most] {
        for (priority, allocation_request_id) in keys {
            let key = SchedulerKey { priority, allocation_request_id };
            for place in places {
                for capability in &sizes {
                    for node_label in labels {
                        for relax_locality in [true, false] {
                            let capability = capability.clone();
                            let row = Ask { key, place, capability, count, relax_locality, node_label };
                            refused += u32::from(!ask(&mut cluster, app, &row));
                        }
                    }
                }
            }
        }
        cluster.verify();
        cluster.schedule();
        cluster.advance(Duration::from_secs(60));
        cluster.schedule();
    }
    // Sizes beyond the largest, labels that are none or on rows of places, and the key that is the AM container's.
    assert!(refused > 0);
    for id in [ApplicationId { cluster_timestamp: u64::MAX, id: u32::MAX }, attempt_id(2, 1).application_id] {
        let mut application_attempt_id = attempt_id(1, u32::MAX);
        application_attempt_id.application_id = id;
        for container_id in [0, 1, u64::MAX] {
            let container_id = ContainerId { application_attempt_id, container_id };
            assert!(cluster.scheduler.check_release(app, &container_id).is_err());
            assert!(!cluster.scheduler.has_container(app, &container_id));
            let Cluster { scheduler, now, out, .. } = &mut cluster;
            scheduler.release(*now, app, &container_id, out);
        }
    }
    cluster.scheduler.update_blacklist(app, &["", &long, "n0", "n0", "r0"], &[&long, "never", ""]);
    cluster.schedule();
    // It takes everything back; what others asked for is there.
    for (priority, allocation_request_id) in keys {
        let key = SchedulerKey { priority, allocation_request_id };
        let none = Ask {
            key,
            place: Place::Any,
            capability: size(0, 0),
            count: 0,
            relax_locality: true,
            node_label: None,
        };
        ask(&mut cluster, app, &none);
    }
    cluster.schedule();
    assert_eq!(cluster.scheduler.totals().pending_memory_mb, 0);
    assert_eq!(cluster.live.values().filter(|granted| granted.attempt == bystander).count(), 2);
}

/// 10,000 keys of 2^31 containers of a tebibyte are more than 64 bits hold. The sums stopped there, and when asks were
/// withdrawn, what others in the queue still asked for was told as nothing.
#[test]
fn sums_of_absurd_asks_are_exact_when_they_are_withdrawn() {
    let largest = ResourceVector::new(1 << 40, 1_000_000);
    let mut settings = settings(tree(&[("root.a", 50.0, 100.0), ("root.b", 50.0, 100.0)]));
    settings.maximum_allocation = largest.clone();
    let mut cluster = Cluster::new(settings);
    cluster.node(8);
    let (app, bystander) = (cluster.submit(1, "u", "a"), cluster.submit(2, "v", "a"));
    cluster.ask(bystander, 9, 2);
    let set = |cluster: &mut Cluster, priority, capability: &ResourceVector, count| {
        let key = SchedulerKey { priority, allocation_request_id: 7 };
        let capability = capability.clone();
        let row = Ask { key, place: Place::Any, capability, count, relax_locality: true, node_label: None };
        assert!(ask(cluster, app, &row));
    };
    let most = u32::try_from(i32::MAX).unwrap();
    for priority in 0..20 {
        set(&mut cluster, priority, &largest, most);
    }
    cluster.verify();
    assert_eq!(cluster.scheduler.totals().pending_memory_mb, u64::MAX, "as much as can be told");
    set(&mut cluster, 19, &size(1, 1), most);
    for priority in 0..19 {
        set(&mut cluster, priority, &largest, 0);
    }
    cluster.verify();
    let pending = |cluster: &Cluster| cluster.scheduler.totals().pending_memory_mb;
    assert_eq!(pending(&cluster), (u64::from(most) + 18) * 1_024);
    set(&mut cluster, 19, &size(1, 1), 0);
    cluster.verify();
    assert_eq!(pending(&cluster), 18 * 1_024);
}
