//! Asks that name many hosts and racks: what they cost, and how many there may be.

use heddle::engine::scheduler::Scheduler;
use heddle::engine::scheduler::face::{Ask, Place, ResourceScheduler, SchedulerKey};
use heddle::engine::time::Duration;

use crate::cluster::{Cluster, settings, size, tree};

fn cluster() -> Cluster {
    Cluster::new(settings(tree(&[("root.a", 100.0, 100.0)])))
}

/// Story: with each row for a host that an ApplicationMaster sent, all the rows of its key were gone through for each of them.
/// A call with 1,024 hosts beside 4,096 took 39 s (debug build), and nobody was served meanwhile. Now a row costs the same
/// whatever else is named, so that this test ends.
#[test]
fn one_ask_names_many_hosts_and_each_comes_and_goes_by_itself() {
    const HOSTS: u32 = 16_384;
    let mut cluster = cluster();
    let (first, second) = (cluster.node(2), cluster.node_on("r1", 2, 10));
    let app = cluster.submit(1, "u", "a");
    // Nothing has room while they come, so that all of them wait as they are.
    cluster.ask_at(app, 1, Place::Any, size(2, 1), 2, true);
    cluster.schedule();
    let blockers: Vec<_> = cluster.live.keys().copied().collect();
    cluster.ask_at(app, 0, Place::Any, size(1, 1), 3, true);
    for host in 0..HOSTS {
        let name = format!("n{host}");
        cluster.ask_at(app, 0, Place::Host(&name), size(1, 1), 1, true);
    }
    cluster.ask_at(app, 0, Place::Rack("r1"), size(1, 1), 2, true);
    assert_eq!(cluster.schedule(), []);
    // One goes again: what frees there is nobody's before the ask looks further.
    cluster.ask_at(app, 0, Place::Host("n0"), size(1, 1), 0, true);
    blockers.iter().for_each(|container| cluster.release(*container));
    let near = cluster.schedule();
    assert_eq!(near.iter().map(|granted| granted.node).collect::<Vec<_>>(), [second]);
    // Its row was used up by that, its rack's has one left, and the wait has begun anew.
    cluster.advance(Duration::from_secs(3));
    let on_rack = cluster.schedule();
    assert_eq!(on_rack.iter().map(|granted| granted.node).collect::<Vec<_>>(), [second]);
    cluster.ask_at(app, 0, Place::Host("n0"), size(1, 1), 1, true);
    let last = cluster.schedule();
    assert_eq!(last.iter().map(|granted| granted.node).collect::<Vec<_>>(), [first]);
    assert_eq!(cluster.scheduler.totals().pending_memory_mb, 0);
}

/// A rack that stops to do is not reached any more, and is again when it does.
#[test]
fn a_rack_is_reached_while_it_will_do() {
    let mut cluster = cluster();
    let node = cluster.node(4);
    let app = cluster.submit(1, "u", "a");
    cluster.ask_at(app, 0, Place::Rack("r9"), size(1, 1), 1, true);
    cluster.ask_at(app, 0, Place::Rack("r0"), size(1, 1), 2, false);
    cluster.ask_at(app, 0, Place::Any, size(1, 1), 2, false);
    assert_eq!(cluster.schedule(), []);
    cluster.ask_at(app, 0, Place::Rack("r0"), size(1, 1), 2, true);
    cluster.verify();
    cluster.ask_at(app, 0, Place::Rack("r0"), size(1, 1), 2, false);
    assert_eq!(cluster.schedule(), []);
    cluster.ask_at(app, 0, Place::Rack("r0"), size(1, 1), 1, true);
    assert_eq!(cluster.schedule().iter().map(|granted| granted.node).collect::<Vec<_>>(), [node]);
}

/// Story: an ApplicationMaster could name 131,072 hosts under each of as many keys: memory without a bound.
#[test]
fn hosts_and_racks_are_bounded_over_all_keys_of_an_attempt() {
    const PER_KEY: usize = 2_048;
    let mut cluster = cluster();
    let (app, other) = (cluster.submit(1, "u", "a"), cluster.submit(2, "u", "a"));
    let ask = |priority: usize, place, count| {
        let priority = i32::try_from(priority).unwrap();
        let key = SchedulerKey { priority, allocation_request_id: -1 };
        Ask { key, place, capability: size(1, 1), count, relax_locality: true, node_label: None }
    };
    let names: Vec<String> = (0..PER_KEY).map(|host| format!("h{host}")).collect();
    for priority in 0..Scheduler::ROWS_MAX / PER_KEY {
        for (number, name) in names.iter().enumerate() {
            let place = if number % 2 == 0 { Place::Host(name) } else { Place::Rack(name) };
            let ask = ask(priority, place, 1);
            cluster.scheduler.check_ask(app, &ask).unwrap();
            cluster.scheduler.update_ask(cluster.now, app, &ask);
        }
    }
    cluster.verify();
    for place in [Place::Host("h"), Place::Rack("h")] {
        let refusal = cluster.scheduler.check_ask(app, &ask(1_000, place, 1)).unwrap_err();
        let text = "131072 hosts and racks named, accepted are at most 131072 of each";
        assert!(refusal.message.contains(text), "{}", refusal.message);
        cluster.scheduler.check_ask(other, &ask(1_000, place, 1)).unwrap();
    }
    // A key without places is another matter, and what is taken back makes room.
    cluster.scheduler.check_ask(app, &ask(1_000, Place::Any, 1)).unwrap();
    let less = ask(3, Place::Any, 0);
    cluster.scheduler.check_ask(app, &less).unwrap();
    cluster.scheduler.update_ask(cluster.now, app, &less);
    cluster.verify();
    cluster.scheduler.check_ask(app, &ask(1_000, Place::Host("h"), 1)).unwrap();
}
