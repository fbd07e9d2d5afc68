//! Tasks as traces list them, one by one, put together into groups: one ask each.
//! Owns: [`Grouping`]. Called by: the readers of SLS and Rumen traces, one per application. Thread: the reader's.
//! Does not: read anything. Invariants: groups of maps come before groups of reduces; within that, in the order of the
//! trace; durations keep the order of the trace; no two groups of one priority have the same allocation request id.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use heddle_wire::record::{ExecutionType, Resource};

use super::{Dependency, Durations, GROUPS_MAX, LOCALITIES_MAX, Locality, TASKS_MAX, TaskGroup};

/// What a task has to have in common with the others of its group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Likeness {
    pub(crate) name: Arc<str>,
    pub(crate) priority: i32,
    /// −1 = none given.
    pub(crate) allocation_request_id: i64,
    pub(crate) resource: Resource,
    pub(crate) execution_type: ExecutionType,
    pub(crate) delay_ms: u64,
}

/// One group as it grows.
#[derive(Debug, Default)]
struct Draft {
    durations: Vec<u64>,
    places: BTreeMap<(Arc<str>, Arc<str>), u32>,
}

/// The groups of one application.
#[derive(Debug, Default)]
pub(crate) struct Grouping {
    index: HashMap<Likeness, usize>,
    drafts: Vec<(Likeness, Draft)>,
    tasks: u64,
}

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) what: &'static str,
    pub(crate) max: u64,
}

/// What an application's kind says of the order of its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Reduces are asked for when this share of each group of maps is completed, millionths.
    MapReduce(u32),
    /// Each group when its delay is over.
    Independent,
}

/// Rack of hosts that name none.
pub(crate) const DEFAULT_RACK: &str = "/default-rack";

/// Rack and host of `/rack/host`, `/switch/rack/host` or `host`.
pub(crate) fn rack_and_host(path: &str) -> Option<(Arc<str>, Arc<str>)> {
    let (rack, host) = path.rsplit_once('/').unwrap_or(("", path));
    let rack = rack.trim_matches('/');
    let is_host = !host.is_empty()
        && host.len() <= 240
        && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    let rack: Arc<str> = if rack.is_empty() { DEFAULT_RACK.into() } else { format!("/{rack}").into() };
    is_host.then(|| (rack, host.into()))
}

impl Grouping {
    /// Adds `count` tasks that run for `duration_ms` each, at `place` (rack, host) if they can.
    pub(crate) fn add(
        &mut self,
        likeness: Likeness,
        count: u32,
        duration_ms: u64,
        place: Option<(Arc<str>, Arc<str>)>,
    ) -> Result<(), Excess> {
        self.tasks += u64::from(count);
        if self.tasks > TASKS_MAX {
            return Err(Excess { what: "tasks in one application", max: TASKS_MAX });
        }
        let index = match self.index.get(&likeness) {
            Some(index) => *index,
            None if self.drafts.len() == GROUPS_MAX => {
                return Err(Excess { what: "kinds of tasks in one application", max: GROUPS_MAX as u64 });
            }
            None => {
                self.index.insert(likeness.clone(), self.drafts.len());
                self.drafts.push((likeness, Draft::default()));
                self.drafts.len() - 1
            }
        };
        let Some((_, draft)) = self.drafts.get_mut(index) else { return Ok(()) };
        draft.durations.extend(std::iter::repeat_n(duration_ms, count as usize));
        if let Some(place) = place {
            *draft.places.entry(place).or_default() += count;
            if draft.places.len() > LOCALITIES_MAX {
                return Err(Excess { what: "hosts of one kind of tasks", max: LOCALITIES_MAX as u64 });
            }
        }
        Ok(())
    }

    /// The groups.
    pub(crate) fn finish(mut self, order: Order) -> Arc<[TaskGroup]> {
        let is_reduce = |likeness: &Likeness| likeness.name.eq_ignore_ascii_case("reduce");
        if matches!(order, Order::MapReduce(_)) {
            // Stable: maps first, otherwise as they came.
            self.drafts.sort_by_key(|(likeness, _)| is_reduce(likeness));
        }
        let maps = self.drafts.iter().take_while(|(likeness, _)| !is_reduce(likeness)).count() as u32;
        let given =
            self.drafts.iter().map(|(likeness, _)| likeness.allocation_request_id).max().unwrap_or(-1);
        let groups = self.drafts.into_iter().enumerate().map(|(index, (likeness, draft))| {
            let after: Vec<Dependency> = match order {
                Order::MapReduce(completed_ppm) if is_reduce(&likeness) => {
                    (0..maps).map(|group| Dependency { group, completed_ppm }).collect()
                }
                _ => Vec::new(),
            };
            let id = likeness.allocation_request_id;
            TaskGroup {
                name: likeness.name,
                priority: likeness.priority,
                // Ids that the trace gives stay; the others come behind them.
                allocation_request_id: if id >= 0 { id } else { given.saturating_add(1 + index as i64) },
                count: draft.durations.len() as u32,
                resource: likeness.resource,
                durations: Durations::of_list(draft.durations),
                localities: draft
                    .places
                    .into_iter()
                    .map(|((rack, host), count)| Locality { host: Some(host), rack, count })
                    .collect(),
                after: after.into(),
                delay_ms: likeness.delay_ms,
                execution_type: likeness.execution_type,
                ..TaskGroup::default()
            }
        });
        groups.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_tasks_are_one_group_and_reduces_wait_for_maps() {
        let like = |name: &str, memory_mb| Likeness {
            name: name.into(),
            priority: 20,
            allocation_request_id: -1,
            resource: Resource::new(memory_mb, 1),
            execution_type: ExecutionType::Guaranteed,
            delay_ms: 0,
        };
        let mut grouping = Grouping::default();
        let place = || rack_and_host("/r/h1");
        grouping.add(like("reduce", 2_048), 1, 9, None).unwrap();
        grouping.add(like("map", 1_024), 2, 5, place()).unwrap();
        grouping.add(like("map", 4_096), 1, 6, None).unwrap();
        grouping.add(like("map", 1_024), 1, 7, place()).unwrap();
        let groups = grouping.finish(Order::MapReduce(500_000));
        let counts: Vec<_> = groups.iter().map(|group| (&*group.name, group.count)).collect();
        assert_eq!(counts, [("map", 3), ("map", 1), ("reduce", 1)]);
        assert_eq!(groups[0].durations, Durations::List([5, 5, 7].into()));
        assert_eq!(
            groups[0].localities[0],
            Locality { host: Some("h1".into()), rack: "/r".into(), count: 3 }
        );
        assert_eq!(groups[2].after.len(), 2);
        let ids: Vec<_> = groups.iter().map(|group| group.allocation_request_id).collect();
        assert_eq!(ids, [0, 1, 2]);
        // Half of three maps is two.
        assert!(groups[2].is_due(&groups, |group| [2, 1][group as usize]));
        assert!(!groups[2].is_due(&groups, |group| [1, 1][group as usize]));
    }

    #[test]
    fn a_path_is_rack_and_host() {
        let check = |path: &str, rack: &str, host: &str| {
            assert_eq!(rack_and_host(path), Some((rack.into(), host.into())), "{path}");
        };
        check("/default-rack/node1", "/default-rack", "node1");
        check("/a/b/c", "/a/b", "c");
        check("node1", "/default-rack", "node1");
        check("/node1", "/default-rack", "node1");
        assert_eq!(rack_and_host("/rack/"), None);
        assert_eq!(rack_and_host("a b"), None);
        assert_eq!(rack_and_host("node:1"), None);
    }

    #[test]
    fn too_many_tasks_are_refused_before_they_are_listed() {
        let like = Likeness {
            name: "map".into(),
            priority: 20,
            allocation_request_id: -1,
            resource: Resource::new(1, 1),
            execution_type: ExecutionType::Guaranteed,
            delay_ms: 0,
        };
        let excess = Grouping::default().add(like, u32::MAX, 1, None).unwrap_err();
        assert_eq!(excess.max, TASKS_MAX);
    }
}
