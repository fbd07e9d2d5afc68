//! Everything in any order: what must hold whatever clients, scheduler, nodes and store do.
//! Owns: a driver with a seed, and the checks at its end. Called by: the test harness. Does not: know expected states.
//! Reproduce a failure with the seed its message names.

use super::*;
use std::collections::BTreeMap;

struct Chance(u64);

impl Chance {
    /// The finaliser of splitmix64.
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

fn unavailable(operation: &StoreOperation) -> Option<StoreError> {
    let is_final = matches!(
        operation,
        StoreOperation::UpdateApplication { purpose: UpdatePurpose::Final, .. }
            | StoreOperation::UpdateAttempt { purpose: UpdatePurpose::Final, .. }
    );
    is_final.then(|| StoreError::Unavailable("now and then".into()))
}

fn run(seed: u64) {
    let mut chance = Chance(seed);
    let mut rm = Rm::with(|settings, _| {
        settings.attempts_kept_max = 4;
        settings.queries_max = 8;
    });
    let mut ids: Vec<ApplicationId> = Vec::new();
    let mut sent = 0;
    for _ in 0..200 {
        let some = |chance: &mut Chance, ids: &[ApplicationId]| {
            let index = chance.next(ids.len().max(1) as u64) as usize;
            let id = ids.get(index).copied();
            id.map(|id| attempt(id, 1 + chance.next(3) as u32))
        };
        let target = some(&mut chance, &ids);
        match (chance.next(16), target) {
            (0 | 1, _) if ids.len() < 8 => {
                let id = rm.submit_id(&mut chance);
                ids.push(id);
                sent += 2;
            }
            (2, _) => rm.holds_store = !rm.holds_store,
            (3, _) => rm.holds_scheduler = !rm.holds_scheduler,
            (4, _) => rm.store.fails = if rm.store.fails.is_some() { None } else { Some(unavailable) },
            (5, _) => rm.pass(Duration::from_millis(chance.next(400_000))),
            (6, Some(target)) => rm.allocate_am(target),
            (7, Some(target)) => rm.launched(target),
            (8 | 9, Some(target)) => rm.register(target),
            (10, Some(target)) => rm.unregister(target),
            (11, Some(target)) => rm.end_am(target, [0, 1, -100, -102][chance.next(4) as usize]),
            (12, Some(target)) => rm.event(ApplicationEvent::Expired { attempt_id: target }),
            (13, Some(target)) => {
                let application_id = target.application_id;
                rm.send("ada", false, &KillApplicationRequest { application_id, diagnostics: None });
                sent += 1;
            }
            (14, Some(target)) => {
                rm.send("ada", false, &FailApplicationAttemptRequest { application_attempt_id: target });
                sent += 1;
            }
            (15, Some(target)) => {
                let application_id = target.application_id;
                let application_priority = chance.next(5) as i32;
                rm.send(
                    "ada",
                    false,
                    &UpdateApplicationPriorityRequest { application_id, application_priority },
                );
                rm.send("ada", false, &GetApplicationReportRequest { application_id });
                sent += 2;
            }
            _ => {}
        }
        rm.settle();
    }
    // Everybody answers again, and everything is ended.
    (rm.holds_store, rm.holds_scheduler, rm.store.fails) = (false, false, None);
    rm.settle();
    rm.pass(Duration::from_secs(2));
    for id in &ids {
        rm.send("ada", false, &KillApplicationRequest { application_id: *id, diagnostics: None });
        sent += 1;
    }
    rm.pass(Duration::from_secs(700));
    assert_eq!(rm.answers.len(), sent, "seed {seed}: every call is answered once");
    assert_eq!(rm.summaries.len(), ids.len(), "seed {seed}: one summary per application");
    assert_eq!(rm.manager.next_deadline(), None, "seed {seed}: no timer is left over");
    let counters = rm.manager.counters();
    assert_eq!(counters.applications_by_state[..5], [0; 5], "seed {seed}: all have ended");
    assert_eq!(counters.applications_by_state.iter().sum::<u32>() as usize, ids.len(), "seed {seed}");
    let ended = counters.finished + counters.failed + counters.killed;
    assert_eq!((ended as usize, counters.launch_context_bytes), (ids.len(), 0), "seed {seed}");
    assert_eq!(counters.queries_outstanding, 0, "seed {seed}");
    // Every application and attempt the scheduler was told of it was told to forget, once and in order.
    let mut applications: BTreeMap<ApplicationId, Vec<&str>> = BTreeMap::new();
    for command in &rm.commands {
        let (id, what) = match command {
            SchedulerCommand::AddApplication(add) => (add.application_id, "add"),
            SchedulerCommand::AddAttempt(add) => (add.attempt_id.application_id, "attempt"),
            SchedulerCommand::LaunchAm(launch) => (launch.attempt_id.application_id, "launch"),
            SchedulerCommand::RemoveAttempt { attempt_id, .. } => (attempt_id.application_id, "removed"),
            SchedulerCommand::RemoveApplication { application_id } => (*application_id, "forget"),
            _ => continue,
        };
        applications.entry(id).or_default().push(what);
    }
    for (id, words) in &applications {
        let count = |word| words.iter().filter(|known| **known == word).count();
        assert_eq!((words.first(), count("add")), (Some(&"add"), 1), "seed {seed}: {id} {words:?}");
        assert_eq!((words.last(), count("forget")), (Some(&"forget"), 1), "seed {seed}: {id} {words:?}");
        assert_eq!(count("attempt"), count("removed"), "seed {seed}: {id} {words:?}");
        let mut depth = 0;
        for word in words {
            depth += i32::from(*word == "attempt") - i32::from(*word == "removed");
            assert!((0..=1).contains(&depth), "seed {seed}: one attempt at a time, {id} {words:?}");
            assert!(*word != "launch" || depth == 1, "seed {seed}: launched while it lives, {id} {words:?}");
        }
    }
    for id in &ids {
        let shown = rm.manager_state(*id);
        let stored = &rm.store.inner.applications()[id];
        assert_eq!(
            stored.record.state.final_state,
            Some(shown as u8),
            "seed {seed}: {id} is stored as it is shown"
        );
    }
}

impl Rm {
    fn submit_id(&mut self, chance: &mut Chance) -> ApplicationId {
        let kept = core::mem::take(&mut self.answers);
        let id = self.new_id();
        let mut context = context(id);
        context.is_unmanaged_am = chance.next(4) == 0;
        context.max_app_attempts = chance.next(3) as u32;
        context.keep_containers_across_application_attempts = chance.next(2) == 0;
        if chance.next(3) == 0 {
            let timeout_type = ApplicationTimeoutType::Lifetime;
            let timeout_s = 1 + chance.next(900);
            context.application_timeouts = vec![ApplicationTimeoutRequest { timeout_type, timeout_s }];
        }
        let request = SubmitApplicationRequest { application_submission_context: context };
        self.send("ada", false, &request);
        // The answer to GetNewApplication was taken out; it counts as well.
        self.answers.extend(kept);
        self.answers.push(Vec::new());
        id
    }

    fn manager_state(&mut self, id: ApplicationId) -> YarnApplicationState {
        self.answers.clear();
        self.state(id)
    }
}

#[test]
fn whatever_happens_everything_ends_once() {
    for seed in 0..400 {
        run(seed);
    }
}
