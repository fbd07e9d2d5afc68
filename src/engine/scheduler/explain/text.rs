//! What binds an ask, in words and numbers.
//! Owns: the sentences. Called by: `explain`, for what is listed. Thread: the scheduler's.
//! Does not: find out what binds. Invariants: a sentence names the queue, user, node or place, what it has, and what it may
//! have; its length is bounded by that of names.

use super::super::Scheduler;
use super::super::ask::{KeyAsk, PlaceRow, Stage};
use super::super::attempt::{AttemptState, PendingReason as Inactive};
use super::super::calculator::Calculator;
use super::super::names::Names;
use super::super::queue::QueueIndex;
use super::super::resource::ResourceVector;
use super::{Explainer, Why};

/// Most places of an ask that are named.
const PLACES_MAX: usize = 3;

/// An amount as a person reads a capability: every type.
fn every_type(scheduler: &Scheduler, amount: &ResourceVector) -> String {
    let mut text = format!("<memory:{}, vCores:{}", amount.memory_mb(), amount.virtual_cores());
    for (kind, of) in scheduler.settings.resource_types.types().iter().enumerate().skip(2) {
        if amount.get(kind) != 0 {
            text.push_str(&format!(", {}:{}", of.name, amount.get(kind)));
        }
    }
    text.push('>');
    text
}

/// Memory in GB where it is whole, else in MB.
fn memory(memory_mb: u64) -> String {
    if memory_mb > 0 && memory_mb.is_multiple_of(1_024) {
        format!("{} GB", memory_mb / 1_024)
    } else {
        format!("{memory_mb} MB")
    }
}

/// An amount of what is compared: memory, or every type.
pub(super) fn amount(scheduler: &Scheduler, amount: &ResourceVector) -> String {
    match scheduler.measures.calculator {
        Calculator::Memory => memory(amount.memory_mb()),
        Calculator::Dominant => every_type(scheduler, amount),
    }
}

/// `used` of `of`, in one unit where that is possible: `812 of 812 GB`.
fn part(scheduler: &Scheduler, used: &ResourceVector, of: &ResourceVector) -> String {
    match scheduler.measures.calculator {
        Calculator::Memory => {
            let (used, of) = (used.memory_mb(), of.memory_mb());
            if used.is_multiple_of(1_024) && of.is_multiple_of(1_024) {
                format!("{} of {} GB", used / 1_024, of / 1_024)
            } else {
                format!("{used} of {of} MB")
            }
        }
        Calculator::Dominant => format!("{} of {}", every_type(scheduler, used), every_type(scheduler, of)),
    }
}

/// A share as percent, with one decimal where there is one.
fn percent(share: f64) -> String {
    let tenths = if share.is_finite() { (share * 1_000.0).round() } else { 0.0 };
    if tenths % 10.0 == 0.0 { format!("{} %", tenths / 10.0) } else { format!("{:.1} %", tenths / 10.0) }
}

fn places(names: &Names, rows: &[PlaceRow], one: &str, many: &str) -> String {
    let named: Vec<&str> = rows.iter().take(PLACES_MAX).map(|row| names.name(row.name)).collect();
    match rows.len() {
        1 => format!("{one} {}", named.join(", ")),
        count if count <= PLACES_MAX => format!("{many} {}", named.join(", ")),
        count => format!("{many} {} and {} more", named.join(", "), count - PLACES_MAX),
    }
}

impl Explainer<'_> {
    /// Why the application itself is given nothing.
    pub(super) fn application_reason(&self) -> Option<String> {
        let scheduler = self.scheduler;
        let path = |queue: QueueIndex| &scheduler.queues.settings(queue).path;
        let user = scheduler.users.name(self.app.user);
        let queue = self.attempt.queue;
        match self.attempt.state {
            AttemptState::Active if self.attempt.held_since.is_some() => Some(
                "its ApplicationMaster does not come for what it was granted: nothing more is placed until it does"
                    .to_owned(),
            ),
            AttemptState::Active => None,
            AttemptState::NotRunnable { queue: Some(queue), .. } => {
                let (running, most) =
                    (scheduler.queues.get(queue).running, scheduler.queues.settings(queue).max_parallel_apps);
                Some(format!(
                    "not active: queue {} runs {running} applications, at most {most} may run at once",
                    path(queue)
                ))
            }
            AttemptState::NotRunnable { queue: None, .. } => {
                let tree = &scheduler.queues.tree;
                let most = tree.max_parallel_apps_of.get(user).unwrap_or(&tree.user_max_parallel_apps);
                let running = scheduler.running_of_user.get(&self.app.user).copied().unwrap_or(0);
                Some(format!("not active: user {user} runs {running} applications, at most {most} may run at once"))
            }
            AttemptState::Pending { reason, .. } => {
                let am = self.attempt.am.as_ref();
                let number = am.map_or(0, |am| am.partition);
                let partition = &scheduler.partitions[usize::from(number)];
                let (of_queue, of_user) = scheduler.am_limits((queue, self.attempt.leaf_user), number);
                let leaf = partition.leaf(queue);
                let size = am.map_or(ResourceVector::ZERO, |am| am.size.clone());
                let size = amount(scheduler, &size);
                let path = path(queue);
                Some(match reason {
                    Inactive::NoCapacity => {
                        let what =
                            am.map_or_else(|| "the cluster".to_owned(), |am| self.partition_name(am.partition));
                        format!("not active: {what} has no capacity")
                    }
                    Inactive::QueueAmLimit => {
                        let used = leaf.map(|leaf| leaf.am_used.clone()).unwrap_or_default();
                        format!(
                            "not active: Queue's AM resource limit exceeded: ApplicationMasters of queue {path} have {}, \
                             this one needs {size}",
                            part(scheduler, &used, &of_queue)
                        )
                    }
                    Inactive::UserAmLimit => {
                        let user_share = leaf.and_then(|leaf| leaf.user(self.attempt.leaf_user));
                        let used = user_share.map(|user| user.am_used.clone()).unwrap_or_default();
                        format!(
                            "not active: User's AM resource limit exceeded: ApplicationMasters of user {user} in queue \
                             {path} have {}, this one needs {size}",
                            part(scheduler, &used, &of_user)
                        )
                    }
                })
            }
        }
    }

    fn partition_name(&self, number: u16) -> String {
        match (number, &self.scheduler.partitions[usize::from(number)].label) {
            (0, _) => "the default partition".to_owned(),
            (_, label) => format!("partition {label}"),
        }
    }

    /// The sentence for one ask.
    pub(super) fn text(&mut self, ask: &KeyAsk, why: Why) -> String {
        let scheduler = self.scheduler;
        let partition = &scheduler.partitions[usize::from(ask.partition)];
        let of_partition = self.partition_name(ask.partition);
        let queue = self.attempt.queue;
        let path = &scheduler.queues.settings(queue).path;
        let size = every_type(scheduler, &ask.size);
        match why {
            Why::NotActive => {
                self.application_reason().unwrap_or_else(|| "the application is not active".to_owned())
            }
            Why::LabelRemoved => {
                format!("node label {} was removed from the cluster", partition.label)
            }
            Why::NotAccessible => format!("queue {path} may not use {of_partition}"),
            Why::NoNodes => match partition.nodes {
                0 => format!("{of_partition} has no node"),
                count => format!("none of the {count} nodes of {of_partition} may be given containers now"),
            },
            Why::TooLarge => {
                format!("no node of {of_partition} is as large as {size}, even when it is empty")
            }
            Why::Reserved(index) => self.reserved_text(ask, index, &size),
            Why::Queue(queue) => self.queue_text(ask, queue, &size),
            Why::MoreThanQueue(queue) => {
                let share = partition.share(queue);
                format!(
                    "{size} is more than queue {} may have in all: its maximum is {} of {of_partition}, {}",
                    scheduler.queues.settings(queue).path,
                    percent(share.capacity.absolute_maximum_capacity),
                    amount(scheduler, &share.capacity.effective_max)
                )
            }
            Why::User => self.user_text(ask),
            Why::Blacklist => {
                if ask.is_am {
                    return format!(
                        "every node with {size} free is one where an ApplicationMaster of it failed, {} in all",
                        self.attempt.am_blacklist.len()
                    );
                }
                let (hosts, racks) = (self.attempt.blacklist.hosts.len(), self.attempt.blacklist.racks.len());
                // A name is kept as both, for it may be either.
                format!(
                    "every node with {size} free is on the application's blacklist, which names {} places",
                    hosts.max(racks)
                )
            }
            Why::Locality => self.locality_text(ask),
            Why::NoFree => {
                let count = self.large_nodes(ask);
                let most = partition.most_free();
                let most = match scheduler.measures.calculator {
                    Calculator::Memory => memory(most.memory_mb()),
                    Calculator::Dominant => every_type(scheduler, &most),
                };
                let (subject, one) = if count == 1 { ("node is", "") } else { ("nodes are", " of one node") };
                format!("no node has {size} free: {count} {subject} that large, the most free{one} is {most}")
            }
            Why::Order => {
                let before = self.before(ask.partition);
                if before.is_empty() {
                    return format!("what is free is kept for what is served before queue {path}");
                }
                let named: Vec<String> = before.iter().map(ToString::to_string).collect();
                let verb = if named.len() == 1 { "application" } else { "applications" };
                let is = if named.len() == 1 { "is" } else { "are" };
                format!("would be next but {verb} {} {is} before it in queue {path}", named.join(" and "))
            }
            Why::Next => "is looked at with the next placement".to_owned(),
        }
    }

    fn reserved_text(&self, ask: &KeyAsk, index: u32, size: &str) -> String {
        let scheduler = self.scheduler;
        let node =
            scheduler.reservations.get(index).and_then(|reservation| scheduler.nodes.get(reservation.node));
        let Some(node) = node else { return format!("a node is reserved for {size}") };
        let more = match ask.reservations.len() {
            1 => String::new(),
            count => format!(" (and {} more nodes)", count - 1),
        };
        format!(
            "node {}{more} is reserved for it until {size} is free there: {} is now",
            node.details.node_id,
            every_type(scheduler, &node.free())
        )
    }

    fn queue_text(&self, ask: &KeyAsk, queue: QueueIndex, size: &str) -> String {
        let scheduler = self.scheduler;
        let partition = &scheduler.partitions[usize::from(ask.partition)];
        let share = partition.share(queue);
        let (used, most) = (&share.used, &share.capacity.effective_max);
        let calculator = scheduler.measures.calculator;
        let full = calculator.divide(&partition.total, used, most).value();
        let of = if ask.partition == 0 {
            String::new()
        } else {
            format!(" of {}", self.partition_name(ask.partition))
        };
        let mut text = format!(
            "queue {} at {} of its maximum {}{of}: {}",
            scheduler.queues.settings(queue).path,
            percent(full),
            percent(share.capacity.absolute_maximum_capacity),
            part(scheduler, used, most)
        );
        if full < 1.0 {
            text.push_str(&format!(", {size} more does not fit"));
        }
        text
    }

    fn user_text(&self, ask: &KeyAsk) -> String {
        let scheduler = self.scheduler;
        let partition = &scheduler.partitions[usize::from(ask.partition)];
        let queue = self.attempt.queue;
        let share = partition.share(queue);
        let limits = partition.limits(&scheduler.queues, &scheduler.measures, queue);
        let limit = partition.compute_user_limit(&scheduler.queues, &scheduler.measures, queue);
        let leaf = share.leaf.as_deref();
        let user = leaf.and_then(|leaf| leaf.user(self.attempt.leaf_user));
        let limit = limits.weighted_user_limit(&limit, user.map_or(1.0, |user| user.weight));
        let used = user.map(|user| user.used.clone()).unwrap_or_default();
        let active = leaf.map_or(0, |leaf| leaf.active_users);
        format!(
            "user {} at its limit {} of queue {} with {} (guarantee {}, {active} active {})",
            scheduler.users.name(self.app.user),
            amount(scheduler, &limit),
            scheduler.queues.settings(queue).path,
            amount(scheduler, &used),
            amount(scheduler, &share.capacity.effective_min),
            if active == 1 { "user" } else { "users" }
        )
    }

    fn locality_text(&self, ask: &KeyAsk) -> String {
        let scheduler = self.scheduler;
        let settings = &scheduler.settings;
        let rack_at = ask.waits_since + settings.node_locality_delay;
        let any_at = rack_at + settings.rack_locality_additional_delay;
        let left = |at: crate::engine::time::Instant| format!("{:.1} s", at.since(self.now).as_secs_f64());
        let hosts = || places(&scheduler.hosts, &ask.hosts, "host", "hosts");
        let racks = || places(&scheduler.racks, &ask.racks, "rack", "racks");
        let has_racks = ask.racks.iter().any(|rack| rack.relax_locality);
        match ask.stage {
            Stage::Node if has_racks => {
                let which = if ask.racks.len() == 1 { "its rack" } else { "their racks" };
                format!("waits for {} for another {}, then {which}", hosts(), left(rack_at))
            }
            Stage::Node if ask.relax_locality => {
                format!("waits for {} for another {}, then any node", hosts(), left(any_at))
            }
            Stage::Rack if ask.relax_locality && ask.hosts.is_empty() => {
                format!("waits for {} for another {}, then any node", racks(), left(any_at))
            }
            Stage::Rack if ask.relax_locality => {
                format!("waits for {} or {} for another {}, then any node", hosts(), racks(), left(any_at))
            }
            _ if ask.hosts.is_empty() => format!("waits for {} and takes no other place", racks()),
            _ if !has_racks => format!("waits for {} and takes no other place", hosts()),
            _ => format!("waits for {} or {} and takes no other place", hosts(), racks()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            (memory(0), memory(1_024), memory(1_536)),
            ("0 MB".into(), "1 GB".into(), "1536 MB".into())
        );
        assert_eq!(
            (percent(0.4), percent(0.333), percent(f64::NAN)),
            ("40 %".into(), "33.3 %".into(), "0 %".into())
        );
    }
}
