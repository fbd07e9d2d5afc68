//! The tasks of one application: which may be asked for, which run, which are done.
//! Owner: [`SimulatedAm`](super::SimulatedAm). Called by: it only.
//! Does not: know frames, nodes or sessions. Time is an argument.
//! Invariants: a task is in one place: waiting, wanted, running or done; wanted and running and done never exceed the
//! group's count; a group is asked for once all it comes after is done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::workload::TaskGroup;

use super::ledger::AskLedger;

/// How a group is doing.
#[derive(Clone, Debug)]
enum Stage {
    /// Comes after something that is not done.
    Waiting,
    /// To be asked for from then on.
    Delayed(u64),
    /// Asked for.
    Asked,
}

/// One group.
#[derive(Clone, Debug)]
struct Progress {
    stage: Stage,
    ledger: AskLedger,
    /// Next task that never had a container.
    next: u32,
    /// Tasks to be run again.
    again: Vec<u32>,
    /// Failures by task, of those that failed.
    failures: BTreeMap<u32, u32>,
    completed: u32,
    running: u32,
    /// What was asked for and when, oldest first: containers and the planned time of the request.
    asked: VecDeque<(u32, u64)>,
    /// Containers wanted that no request has carried yet.
    unsent: u32,
}

/// A task in its container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its group.
    pub group: u32,
    /// Which of the group's.
    pub task: u32,
}

/// A task that may start: its ask was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskStart {
    /// Which.
    pub running: Running,
    /// How long it runs.
    pub duration_us: u64,
    /// When its container was asked for.
    pub asked_us: u64,
}

/// The tasks of an application. See the module.
#[derive(Clone, Debug)]
pub struct TaskPlan {
    groups: Arc<[TaskGroup]>,
    progress: Vec<Progress>,
    /// Group by priority and allocation request id, sorted.
    keys: Vec<(i32, i64, u32)>,
    /// Running tasks by container.
    running: BTreeMap<u64, Running>,
    /// Groups that are not done.
    unfinished: u32,
    is_failed: bool,
}

impl TaskPlan {
    /// Nothing has begun.
    #[must_use]
    pub fn new(groups: &Arc<[TaskGroup]>) -> Self {
        let progress = groups.iter().map(|_| Progress {
            stage: Stage::Waiting,
            ledger: AskLedger::default(),
            next: 0,
            again: Vec::new(),
            failures: BTreeMap::new(),
            completed: 0,
            running: 0,
            asked: VecDeque::new(),
            unsent: 0,
        });
        let mut keys: Vec<(i32, i64, u32)> = (0_u32..)
            .zip(groups.iter())
            .map(|(index, group)| (group.priority, group.allocation_request_id, index))
            .collect();
        keys.sort_unstable();
        Self {
            groups: Arc::clone(groups),
            progress: progress.collect(),
            keys,
            running: BTreeMap::new(),
            unfinished: u32::try_from(groups.len()).unwrap_or(u32::MAX),
            is_failed: false,
        }
    }

    /// The groups.
    #[must_use]
    pub fn groups(&self) -> &[TaskGroup] {
        &self.groups
    }

    /// The group of a key.
    #[must_use]
    pub fn group_of(&self, priority: i32, allocation_request_id: i64) -> Option<u32> {
        let key = (priority, allocation_request_id);
        let at = self.keys.binary_search_by(|known| (known.0, known.1).cmp(&key)).ok()?;
        Some(self.keys[at].2)
    }

    /// Counts of a group's ask.
    #[must_use]
    pub fn ledger(&self, group: u32) -> &AskLedger {
        &self.progress[group as usize].ledger
    }

    /// The same, to take a grant in.
    pub fn ledger_mut(&mut self, group: u32) -> &mut AskLedger {
        &mut self.progress[group as usize].ledger
    }

    /// Asks for what has become due. Says when something becomes due by time alone, at the earliest.
    ///
    /// Cost: the groups. Called when an application has begun, when a group got further, and when its time has come.
    pub fn unlock(&mut self, now_us: u64) -> Option<u64> {
        let mut next_us: Option<u64> = None;
        for index in 0..self.groups.len() {
            let group = &self.groups[index];
            if matches!(self.progress[index].stage, Stage::Waiting) {
                let completed = |other: u32| self.progress.get(other as usize).map_or(0, |it| it.completed);
                if group.is_due(&self.groups, completed) {
                    let at_us = now_us.saturating_add(group.delay_ms.saturating_mul(1_000));
                    self.progress[index].stage = Stage::Delayed(at_us);
                }
            }
            let progress = &mut self.progress[index];
            if let Stage::Delayed(at_us) = progress.stage {
                if at_us <= now_us {
                    progress.stage = Stage::Asked;
                    progress.raise(group.count);
                } else {
                    next_us = Some(next_us.map_or(at_us, |known| known.min(at_us)));
                }
            }
        }
        next_us
    }

    /// Groups whose ask has to be told.
    pub fn dirty(&self) -> impl Iterator<Item = u32> {
        (0_u32..)
            .zip(&self.progress)
            .filter(|(_, progress)| progress.ledger.is_dirty())
            .map(|(index, _)| index)
    }

    /// The group's ask goes out with a request planned for `planned_us`: (count, grants seen).
    pub fn tell(&mut self, group: u32, planned_us: u64) -> (u32, u64) {
        let progress = &mut self.progress[group as usize];
        if progress.unsent > 0 {
            progress.asked.push_back((progress.unsent, planned_us));
            progress.unsent = 0;
        }
        progress.ledger.tell()
    }

    /// The request that is out was applied.
    pub fn applied(&mut self) {
        self.progress.iter_mut().for_each(|progress| progress.ledger.applied());
    }

    /// It was refused whole.
    pub fn refused(&mut self) {
        self.progress.iter_mut().for_each(|progress| progress.ledger.refused());
    }

    /// A new session at a ResourceManager that knows nothing of asks.
    pub fn forget(&mut self) {
        self.progress.iter_mut().for_each(|progress| progress.ledger.forget());
    }

    /// An accepted grant: the next task of the group gets the container.
    pub fn start(&mut self, group: u32, container: u64) -> Option<TaskStart> {
        let progress = self.progress.get_mut(group as usize)?;
        let task = match progress.again.pop() {
            Some(task) => task,
            None if progress.next < self.groups[group as usize].count => {
                progress.next += 1;
                progress.next - 1
            }
            None => return None,
        };
        progress.running += 1;
        let asked_us = progress.asked.front().map_or(0, |asked| asked.1);
        progress.pop_asked(1);
        let running = Running { group, task };
        self.running.insert(container, running);
        let duration_us = self.groups[group as usize].durations.ms(task).saturating_mul(1_000);
        Some(TaskStart { running, duration_us, asked_us })
    }

    /// True while the container runs a task.
    #[must_use]
    pub fn is_running(&self, container: u64) -> bool {
        self.running.contains_key(&container)
    }

    /// Containers that run a task.
    pub fn running(&self) -> impl Iterator<Item = u64> {
        self.running.keys().copied()
    }

    /// How many containers run a task.
    #[must_use]
    pub fn running_count(&self) -> usize {
        self.running.len()
    }

    /// A container ended. `counts` says whether its end is the task's fault. False when it ran none.
    ///
    /// What did not succeed is wanted again, up to the group's retries; beyond them the application has failed.
    pub fn ended(&mut self, container: u64, is_success: bool, counts: bool) -> bool {
        let Some(Running { group, task }) = self.running.remove(&container) else { return false };
        let progress = &mut self.progress[group as usize];
        progress.running -= 1;
        if is_success {
            progress.completed += 1;
            if progress.completed == self.groups[group as usize].count {
                self.unfinished -= 1;
            }
            return true;
        }
        if counts {
            let failures = progress.failures.entry(task).or_default();
            *failures += 1;
            if *failures > self.groups[group as usize].retries {
                self.is_failed = true;
                return true;
            }
        }
        progress.again.push(task);
        progress.raise(1);
        true
    }

    /// Wants `count` fewer of a group for now. Says how many fewer it is.
    pub fn lower(&mut self, group: u32, count: u32) -> u32 {
        let progress = &mut self.progress[group as usize];
        let lowered = progress.ledger.lower(count);
        let unsent = lowered.min(progress.unsent);
        progress.unsent -= unsent;
        progress.pop_asked_last(lowered - unsent);
        lowered
    }

    /// Wants them again.
    pub fn raise(&mut self, group: u32, count: u32) {
        self.progress[group as usize].raise(count);
    }

    /// Containers wanted and not granted.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        self.progress.iter().map(|progress| u64::from(progress.ledger.wanted())).sum()
    }

    /// Every task is done.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.unfinished == 0
    }

    /// A task failed more often than it may.
    #[must_use]
    pub const fn is_failed(&self) -> bool {
        self.is_failed
    }

    /// Tasks done and tasks in all.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        let done = self.progress.iter().map(|progress| u64::from(progress.completed)).sum();
        (done, self.groups.iter().map(|group| u64::from(group.count)).sum())
    }
}

impl Progress {
    fn raise(&mut self, count: u32) {
        self.ledger.raise(count);
        self.unsent += count;
    }

    fn pop_asked(&mut self, mut count: u32) {
        while let Some(front) = self.asked.front_mut().filter(|_| count > 0) {
            let taken = front.0.min(count);
            front.0 -= taken;
            count -= taken;
            if front.0 == 0 {
                self.asked.pop_front();
            }
        }
    }

    fn pop_asked_last(&mut self, mut count: u32) {
        while let Some(back) = self.asked.back_mut().filter(|_| count > 0) {
            let taken = back.0.min(count);
            back.0 -= taken;
            count -= taken;
            if back.0 == 0 {
                self.asked.pop_back();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Chance;
    use crate::workload::{Dependency, Durations};

    fn groups() -> Arc<[TaskGroup]> {
        let map = TaskGroup { count: 10, durations: Durations::Constant(5), ..TaskGroup::default() };
        let slow_start = Dependency { group: 0, completed_ppm: 500_000 };
        let reduce = TaskGroup {
            priority: 10,
            count: 2,
            retries: 1,
            after: Arc::new([slow_start]),
            delay_ms: 3,
            ..TaskGroup::default()
        };
        Arc::new([map, reduce])
    }

    fn grant(plan: &mut TaskPlan, group: u32, container: u64) -> TaskStart {
        let number = plan.ledger(group).seen() + 1;
        assert_eq!(plan.ledger_mut(group).take(number), super::super::Grant::Accepted { missing: 0 });
        plan.start(group, container).unwrap()
    }

    #[test]
    fn groups_follow_each_other() {
        let mut plan = TaskPlan::new(&groups());
        assert_eq!(plan.unlock(1_000), None);
        assert_eq!(plan.dirty().collect::<Vec<_>>(), [0]);
        assert_eq!(plan.tell(0, 77), (10, 0));
        plan.applied();
        for container in 0..5 {
            let start = grant(&mut plan, 0, container);
            assert_eq!((start.duration_us, start.asked_us), (5_000, 77));
            assert_eq!(start.running, Running { group: 0, task: container as u32 });
        }
        (0..5).for_each(|container| assert!(plan.ended(container, true, true)));
        assert!(!plan.ended(3, true, true), "it ended already");
        assert_eq!(plan.unlock(2_000), Some(5_000));
        assert_eq!(plan.dirty().count(), 0);
        assert_eq!(plan.unlock(5_000), None);
        assert_eq!(plan.dirty().collect::<Vec<_>>(), [1]);
        assert_eq!(
            (plan.group_of(10, -1), plan.group_of(20, -1), plan.group_of(0, -1)),
            (Some(1), Some(0), None)
        );
        assert_eq!((plan.progress(), plan.is_done()), ((5, 12), false));
    }

    #[test]
    fn what_fails_is_tried_again_and_what_was_killed_does_not_count() {
        let mut plan = TaskPlan::new(&groups());
        plan.progress[1].stage = Stage::Asked;
        plan.raise(1, 2);
        plan.tell(1, 0);
        plan.applied();
        grant(&mut plan, 1, 1);
        plan.ended(1, false, false);
        plan.ended(1, false, true);
        assert_eq!((plan.ledger(1).wanted(), plan.is_failed()), (2, false));
        plan.tell(1, 9);
        plan.applied();
        assert_eq!(grant(&mut plan, 1, 2).running.task, 0);
        plan.ended(2, false, true);
        assert!(!plan.is_failed());
        plan.tell(1, 9);
        plan.applied();
        grant(&mut plan, 1, 3);
        plan.ended(3, false, true);
        assert!(plan.is_failed());
    }

    #[test]
    fn every_task_is_run_once_whatever_is_cancelled_and_lost() {
        for seed in 0..200 {
            let mut chance = Chance(seed);
            let mut plan = TaskPlan::new(&groups());
            let (mut container, mut held, mut now_us) = (0, Vec::new(), 0);
            while !plan.is_done() {
                now_us += 1_000;
                plan.unlock(now_us);
                let dirty: Vec<u32> = plan.dirty().collect();
                for group in dirty {
                    plan.tell(group, now_us);
                }
                plan.applied();
                for group in 0..2 {
                    while plan.ledger(group).wanted() > 0 && chance.hits(700_000) {
                        container += 1;
                        grant(&mut plan, group, container);
                        held.push(container);
                    }
                    let lowered = plan.lower(group, chance.below(3));
                    plan.raise(group, lowered);
                }
                if !held.is_empty() {
                    let ended = held.swap_remove(chance.below(held.len() as u32) as usize);
                    assert!(plan.ended(ended, chance.hits(800_000), false));
                }
                for progress in &plan.progress {
                    let asked: u32 = progress.asked.iter().map(|asked| asked.0).sum();
                    assert_eq!(asked + progress.unsent, progress.ledger.wanted());
                }
            }
            assert_eq!((plan.progress(), plan.wanted(), plan.running_count()), ((12, 12), 0, 0), "{seed}");
        }
    }
}
