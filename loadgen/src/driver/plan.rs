//! From what is to be run to what each client thread does.
//! Owns: how nodes, connections and applications are shared out. Called by: the driver, before the threads start.
//! Does not: start them. Thread: main.
//! Invariants: the parts of all threads are the whole; an application's nodes and frames are on one thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::applications::{ApplicationPlan, Mailboxes};
use super::faults::{Interval, Victims};
use super::worker::WorkerPlan;
use super::{Identities, RunError, RunSpec, quic};
use crate::fleet::{APPLICATION_NODES, FleetSpec, Pace};

/// A path without a sign of life for this long is made again.
const DEAD_AFTER: Duration = Duration::from_secs(5);

/// The same in runs in which the ResourceManager is killed: the time to be back should not be ours.
const DEAD_AFTER_KILL: Duration = Duration::from_secs(2);

/// Most slices of a run that have a histogram of their own.
const SLICES_MAX: u64 = 600;

/// Length of a slice, so that a run has not too many.
pub(super) fn slice_of(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs().div_ceil(SLICES_MAX).max(1))
}

/// One plan per client thread: nodes and connections in equal parts, whole applications together.
pub(super) fn plans(spec: &RunSpec, address: SocketAddr, client: &quinn::ClientConfig) -> Vec<WorkerPlan> {
    let threads = spec.client_threads.max(1);
    let share = spec.nodes.div_ceil(threads).next_multiple_of(APPLICATION_NODES);
    let (pace, interval_us) = match spec.interval {
        Interval::Every(interval) => (Pace::Told, interval.as_micros() as u64),
        Interval::Max => (Pace::Max, 1_000_000),
    };
    let victims = Victims::of(&spec.faults, spec.nodes);
    let mut plans = Vec::new();
    let mut first_node = 0;
    while first_node < spec.nodes {
        let nodes = share.min(spec.nodes - first_node);
        let links = (u64::from(spec.connections) * u64::from(nodes)).div_ceil(u64::from(spec.nodes)) as usize;
        let dead_after = if spec.kill_rm_at.is_some() { DEAD_AFTER_KILL } else { DEAD_AFTER };
        plans.push(WorkerPlan {
            address,
            client: client.clone(),
            fleet: FleetSpec {
                nodes,
                first_node,
                containers_per_node: spec.containers_per_node,
                churn_ppm: spec.churn_ppm,
                duplicate_ppm: spec.duplicate_ppm,
                stale_ppm: spec.stale_ppm,
                capacities: spec.capacities.clone(),
                pace,
                retry_after_ms: 5_000.max((interval_us / 1_000) as u32 * 2),
                runs_applications: spec.applications.is_some(),
                start_time_ms: spec.applications.is_some().then(heddle::runtime::clock::unix_time_ms),
            },
            seed: spec.seed ^ u64::from(first_node),
            links: links.clamp(1, nodes as usize),
            pace,
            batch: spec.batch.max(1),
            handshakes: (spec.handshakes.div_ceil(threads)).max(1) as usize,
            interval_us,
            slice_us: slice_of(spec.duration).as_micros() as u64,
            dead_after_us: dead_after.as_micros() as u64,
            faults: spec.faults.iter().copied().zip(victims.iter().copied()).collect(),
            unregisters: spec.unregisters,
            applications: None,
        });
        first_node += nodes;
    }
    plans
}

/// Windows of connections that carry ApplicationMasters: as of so many nodes.
const MASTER_WINDOW_NODES: u32 = 4_096;

/// Gives every thread its ApplicationMasters, and the first one the clients.
pub(super) fn add_applications(
    spec: &RunSpec,
    identities: &Identities,
    plans: &mut [WorkerPlan],
) -> Result<(), RunError> {
    let (Some(load), Some(first)) = (&spec.applications, identities.clients.first()) else { return Ok(()) };
    let am_client = quic::client_config(first, MASTER_WINDOW_NODES, load.pace.silence())?;
    let threads = plans.len();
    let mailboxes = Arc::new(Mailboxes::new(threads));
    for (thread, plan) in plans.iter_mut().enumerate() {
        // One without a question needs no connection: it is made again for the next.
        let clients = if thread == 0 { identities.clients.as_slice() } else { &[] };
        let clients =
            clients.iter().map(|identity| quic::client_config(identity, MASTER_WINDOW_NODES, Duration::ZERO));
        plan.applications = Some(ApplicationPlan {
            load: load.clone(),
            am_links: (load.am_connections as usize).div_ceil(threads).max(1),
            am_client: am_client.clone(),
            clients: clients.collect::<Result<_, _>>()?,
            mailboxes: Arc::clone(&mailboxes),
            thread,
        });
    }
    Ok(())
}
