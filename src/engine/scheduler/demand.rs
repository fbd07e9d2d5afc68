//! From rows of asks to shapes of demand: which of an attempt's asks may be placed where, now.
//! Owns: the rules of locality in time. Called by: the door (rows change), grants and ends (counts change), the tick
//! (waits are over); on the scheduler's thread. Does not: place, or look at nodes.
//! Invariants: an ask of an active attempt is registered with exactly the shapes its rows and its stage allow; pending
//! amounts of attempt, user and leaf follow every change of a count.
//!
//! Differs from YARN: how long an ask waits for a near node is a time and not a number of node heartbeats it let pass,
//! because placement does not go from node to node. A grant on a named host begins the wait anew; one on a named rack
//! does so where the setting says so; a grant elsewhere does not.

use super::Scheduler;
use super::ask::{KeyAsk, PlaceRow, Stage, place_of};
use super::attempt::{AppKey, AttemptState};
use super::container::{Locality, RmContainer};
use super::face::SchedulerKey;
use super::names::NameId;
use super::resource::ResourceVector;
use super::settings::ApplicationOrder;
use super::shape::{Reach, ShapeId};
use crate::engine::time::Instant;

/// The key of an AM container's ask: before every key an ApplicationMaster can name. It is told as priority 0.
pub(super) const AM_KEY: SchedulerKey = SchedulerKey { priority: i32::MIN, allocation_request_id: i64::MIN };

/// A row as it is set.
#[derive(Clone, Copy, Debug)]
pub(super) enum RowPlace {
    /// Anywhere.
    Any,
    /// A rack, held once by the caller.
    Rack(NameId),
    /// A host, held once by the caller.
    Host(NameId),
}

/// What a row says.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Where.
    pub(super) place: RowPlace,
    /// Its partition.
    pub(super) partition: u16,
    /// It named no label.
    pub(super) has_no_label: bool,
    /// Size of a container, rounded.
    pub(super) size: ResourceVector,
    /// Outstanding.
    pub(super) count: u32,
    /// Whether a wider place will do.
    pub(super) relax_locality: bool,
    /// It is the AM container's.
    pub(super) is_am: bool,
}

/// Most asks that were done and are kept for their memory: 1 MiB. ApplicationMasters that ask for each container under a
/// key of its own have hundreds done at once.
const SPARE_ASKS_MAX: usize = 4_096;

impl Scheduler {
    /// Sets a row of an attempt's ask.
    pub(super) fn set_row(&mut self, now: Instant, row: u32, key: SchedulerKey, new: Row) {
        let Some(attempt) = self.attempts.get_mut(row) else {
            match new.place {
                RowPlace::Any => {}
                RowPlace::Rack(name) => self.racks.release(name),
                RowPlace::Host(name) => self.hosts.release(name),
            }
            return;
        };
        match new.place {
            RowPlace::Any => {
                if new.count == 0 {
                    // The whole entry goes: what is asked for next under this key begins without places.
                    return self.remove_key(now, row, key);
                }
                let is_changed = attempt.asks.get(&key).is_some_and(|ask| {
                    ask.count > 0 && (ask.size != new.size || ask.partition != new.partition)
                });
                if is_changed {
                    // Another size or partition: as if taken back and asked anew.
                    self.set_count(now, row, key, 0);
                }
                if let Some(attempt) = self.attempts.get_mut(row) {
                    let spare = &mut self.spare_asks;
                    let ask = attempt.asks.entry(key).or_insert_with(|| KeyAsk::reuse(spare.pop(), now));
                    if ask.count == 0 {
                        (ask.since, ask.waits_since, ask.shared_since) = (now, now, now);
                    }
                    ask.size = new.size;
                    ask.partition = new.partition;
                    ask.has_no_label = new.has_no_label;
                    ask.relax_locality = new.relax_locality;
                    ask.is_am = new.is_am;
                }
                self.set_count(now, row, key, new.count);
            }
            RowPlace::Rack(name) | RowPlace::Host(name) => {
                let is_host = matches!(new.place, RowPlace::Host(_));
                let spare = &mut self.spare_asks;
                let ask = attempt.asks.entry(key).or_insert_with(|| KeyAsk::reuse(spare.pop(), now));
                let place = PlaceRow { name, count: new.count, relax_locality: new.relax_locality };
                let rows = if is_host { &mut ask.hosts } else { &mut ask.racks };
                let former = KeyAsk::set_row(rows, place);
                let before = former.is_some_and(|row| is_host || row.relax_locality);
                let after = place.count > 0 && (is_host || place.relax_locality);
                let (was_named, is_named) = (former.is_some(), place.count > 0);
                attempt.places = attempt.places + usize::from(is_named) - usize::from(was_named);
                // Held by the caller; a row that stays has held it before.
                for _ in 0..usize::from(was_named) + usize::from(!is_named) {
                    if is_host {
                        self.hosts.release(name);
                    } else {
                        self.racks.release(name);
                    }
                }
                if before != after {
                    let reach = if is_host { Reach::Host(name) } else { Reach::Rack(name) };
                    self.change_reach(now, row, key, reach, after);
                }
            }
        }
        self.refresh_key(now, row, key);
    }

    /// Sets the outstanding count of a key, and the sums that depend on it.
    pub(super) fn set_count(&mut self, now: Instant, row: u32, key: SchedulerKey, count: u32) {
        let Some(attempt) = self.attempts.get_mut(row) else { return };
        let Some(ask) = attempt.asks.get_mut(&key) else { return };
        let before = core::mem::replace(&mut ask.count, count);
        if before == count {
            return;
        }
        if count == 0 || before == 0 {
            ask.since = now;
        }
        let (partition, size) = (ask.partition, ask.size.clone());
        if count > before && (1..=ask.reservations.len()).contains(&(before as usize)) {
            // Every container that was outstanding had a node; this one has none.
            self.partitions[usize::from(partition)].look_again_for_nodes_to_hold();
        }
        self.change_pending(row, partition, &size, before, count);
        if count == 0 {
            self.refresh_key(now, row, key);
        }
    }

    /// Outstanding containers of one key of an attempt are `after` instead of `before`.
    pub(super) fn change_pending(
        &mut self,
        row: u32,
        partition: u16,
        size: &ResourceVector,
        before: u32,
        after: u32,
    ) {
        let Some(attempt) = self.attempts.get_mut(row) else { return };
        let place = (attempt.queue, attempt.leaf_user);
        // What others want who wait to be activated takes no part of the users' limits yet.
        let is_counted = attempt.state == AttemptState::Active;
        let share = attempt.share_mut(partition);
        let of = &mut self.partitions[usize::from(partition)];
        let leaf = of.leaf_mut(place.0);
        self.counts.pending = self.counts.pending + u64::from(after) - u64::from(before);
        if after > before {
            let more = u64::from(after - before);
            share.pending.add(size, more);
            if let Some(leaf) = leaf {
                leaf.pending.add(size, more);
                leaf.pending_containers += more;
            }
        } else {
            let less = u64::from(before - after);
            share.pending.subtract(size, less);
            if let Some(leaf) = leaf {
                leaf.pending.subtract(size, less);
                leaf.pending_containers -= less;
            }
        }
        let had_keys = share.pending_keys > 0;
        match (before, after) {
            (0, 1..) => share.pending_keys += 1,
            (1.., 0) => share.pending_keys -= 1,
            _ => {}
        }
        let has_keys = share.pending_keys > 0;
        if is_counted && had_keys != has_keys {
            of.count_demanding(&self.queues, &self.measures, place, has_keys);
        }
        let order = self.queues.settings(place.0).application_order;
        if order == (ApplicationOrder::Fair { size_based_weight: true }) {
            self.reorder(row);
        }
    }

    /// Registers a key with the shapes it may be placed as now; forgets a key that is done.
    pub(super) fn refresh_key(&mut self, now: Instant, row: u32, key: SchedulerKey) {
        let has_shared_labels = self.has_shared_labels();
        let Some(attempt) = self.attempts.get_mut(row) else { return };
        let is_active = attempt.is_active();
        let Some(ask) = attempt.asks.get_mut(&key) else { return };
        let (mut deadline, mut reached) = (None, None);
        let mut is_guest = false;
        // Without looking further, an ask whose every container has a node reserved waits for those nodes.
        let waits_for_node = !self.queues.tree.reservations_continue_look_all_nodes
            && !ask.reservations.is_empty()
            && ask.reservations.len() as u32 >= ask.count;
        if is_active && ask.count > 0 && !waits_for_node {
            let rack_at = ask.waits_since + self.settings.node_locality_delay;
            let any_at = rack_at + self.settings.rack_locality_additional_delay;
            ask.stage = if !ask.has_places() || now >= any_at {
                Stage::Any
            } else if ask.hosts.is_empty() || now >= rack_at {
                Stage::Rack
            } else {
                Stage::Node
            };
            reached = Some((ask.stage, ask.relax_locality));
            let has_racks = ask.racks.iter().any(|rack| rack.relax_locality);
            deadline = match ask.stage {
                Stage::Node if has_racks => Some(rack_at),
                Stage::Node | Stage::Rack if ask.relax_locality => Some(any_at),
                _ => None,
            };
            let may_share = ask.stage == Stage::Any
                && ask.relax_locality
                && ask.partition == 0
                && ask.has_no_label
                && !ask.is_am
                && has_shared_labels;
            if may_share {
                let at = ask.shared_since + self.settings.non_exclusive_delay;
                is_guest = now >= at;
                if !is_guest {
                    deadline = Some(at);
                }
            }
        }
        if ask.deadline != deadline {
            if let Some(at) = ask.deadline {
                self.waits.remove(&(at, row, key));
            }
            if let Some(at) = deadline {
                self.waits.insert((at, row, key));
            }
            ask.deadline = deadline;
        }
        let is_other = core::mem::replace(&mut ask.reached, reached) != reached;
        let is_strict = !ask.relax_locality && deadline.is_none() && ask.reaches().next().is_some();
        if core::mem::replace(&mut ask.is_strict, is_strict) != is_strict {
            let partition = &mut self.partitions[usize::from(ask.partition)];
            if is_strict {
                partition.strict.insert((row, key));
                partition.look_again_for_nodes_to_hold();
            } else {
                partition.strict.remove(&(row, key));
            }
        }
        let (number, count) = (ask.partition, ask.count);
        self.set_guest(now, row, key, is_guest);
        if is_other {
            self.reach_anew(now, row, key);
        }
        self.drop_reservations(now, row, key);
        if count == 0 {
            self.forget_empty(row, key);
        } else {
            // A row may name the place of a reservation, or free rows: the partition is looked at again.
            self.partitions[usize::from(number)].is_dirty |= is_active;
        }
    }

    /// Registers a key with the shapes it reaches now, after its stage or its row for any place changed. O(its hosts and
    /// racks): for one that comes or goes there is [`Scheduler::change_reach`].
    fn reach_anew(&mut self, now: Instant, row: u32, key: SchedulerKey) {
        let Some(ask) = self.attempts.get_mut(row).and_then(|attempt| attempt.asks.get_mut(&key)) else {
            return;
        };
        let (number, size) = (ask.partition, ask.size.clone());
        let mut before = core::mem::take(&mut ask.shapes);
        let mut after = core::mem::take(&mut self.spare_shapes);
        let mut reaches = core::mem::take(&mut self.reaches);
        reaches.extend(ask.reaches());
        after.extend(reaches.drain(..).map(|reach| self.hold_shape(now, number, &size, reach)));
        self.reaches = reaches;
        // Searched once for each of the others.
        let mut sorted = core::mem::take(&mut self.sorted_shapes);
        let sort = |sorted: &mut Vec<ShapeId>, shapes: &[ShapeId]| {
            sorted.clear();
            sorted.extend_from_slice(shapes);
            sorted.sort_unstable();
        };
        sort(&mut sorted, &before);
        for shape in after.iter().filter(|shape| sorted.binary_search(shape).is_err()) {
            self.want(row, number, *shape, key, true);
        }
        sort(&mut sorted, &after);
        for shape in &before {
            if sorted.binary_search(shape).is_err() {
                self.want(row, number, *shape, key, false);
            }
            self.partitions[usize::from(number)].shapes.release(*shape);
        }
        if let Some(ask) = self.attempts.get_mut(row).and_then(|attempt| attempt.asks.get_mut(&key)) {
            ask.shapes = after;
        }
        before.clear();
        (self.spare_shapes, self.sorted_shapes) = (before, sorted);
    }

    /// A host or rack is among the rows of a key now (`is_there`) or is not any more: its shape comes or goes, where the key
    /// may be placed there now. The others stay as they are.
    pub(super) fn change_reach(
        &mut self,
        now: Instant,
        row: u32,
        key: SchedulerKey,
        reach: Reach,
        is_there: bool,
    ) {
        let Some(ask) = self.attempts.get_mut(row).and_then(|attempt| attempt.asks.get_mut(&key)) else {
            return;
        };
        let Some((stage, to_any)) = ask.reached else { return };
        if stage == Stage::Node && !matches!(reach, Reach::Host(_)) {
            return;
        }
        let (number, size) = (ask.partition, ask.size.clone());
        if is_there {
            let place = match reach {
                Reach::Host(_) => 0,
                Reach::Rack(_) | Reach::Any => ask.shapes.len() - usize::from(to_any && stage == Stage::Any),
            };
            let shape = self.hold_shape(now, number, &size, reach);
            if let Some(ask) = self.attempts.get_mut(row).and_then(|attempt| attempt.asks.get_mut(&key)) {
                ask.shapes.insert(place, shape);
            }
            self.want(row, number, shape, key, true);
        } else if let Some(shape) = self.partitions[usize::from(number)].shapes.find(&size, reach)
            && let Some(place) = ask.shapes.iter().position(|of| *of == shape)
        {
            ask.shapes.remove(place);
            self.want(row, number, shape, key, false);
            self.partitions[usize::from(number)].shapes.release(shape);
        }
    }

    /// Holds a shape. A new one of a host without room is closed at once: of those that are open each is looked at with each
    /// grant, and an ApplicationMaster may name hosts by the thousand.
    fn hold_shape(&mut self, now: Instant, number: u16, size: &ResourceVector, reach: Reach) -> ShapeId {
        let partition = &mut self.partitions[usize::from(number)];
        let shape = partition.shapes.hold(now, size, reach);
        let of = partition.shapes.get(shape);
        if let Reach::Host(host) = reach
            && of.is_open
            && of.leaves.is_empty()
        {
            let nodes = self.nodes.on_host(host).iter().filter_map(|node| self.nodes.get(*node));
            let mut here = nodes.filter(|node| node.partition == number);
            if !here.any(|node| partition.has_room(shape, node.slot)) {
                partition.set_open(now, &self.queues, shape, false);
            }
        }
        shape
    }

    /// Drops a key with nothing outstanding anywhere.
    fn forget_empty(&mut self, row: u32, key: SchedulerKey) {
        let Some(attempt) = self.attempts.get_mut(row) else { return };
        // Rows for hosts and racks may be set before the row for any place: they stay until that is set to 0.
        let is_empty = attempt
            .asks
            .get(&key)
            .is_some_and(|ask| ask.count == 0 && ask.hosts.is_empty() && ask.racks.is_empty());
        if is_empty
            && let Some(ask) = attempt.asks.remove(&key)
            && self.spare_asks.len() < SPARE_ASKS_MAX
        {
            self.spare_asks.push(ask.into_spare());
        }
    }

    /// Removes a key altogether.
    pub(super) fn remove_key(&mut self, now: Instant, row: u32, key: SchedulerKey) {
        self.set_count(now, row, key, 0);
        let Some(attempt) = self.attempts.get_mut(row) else { return };
        let Some(ask) = attempt.asks.get_mut(&key) else { return };
        attempt.places -= ask.hosts.len() + ask.racks.len();
        for host in ask.hosts.drain(..) {
            self.hosts.release(host.name);
        }
        for rack in ask.racks.drain(..) {
            self.racks.release(rack.name);
        }
        self.refresh_key(now, row, key);
        self.forget_empty(row, key);
    }

    /// A key of an attempt wants a shape, or does not any more.
    fn want(&mut self, row: u32, number: u16, shape: ShapeId, key: SchedulerKey, is_wanted: bool) {
        let Some(attempt) = self.attempts.get_mut(row) else { return };
        let (queue, user) = (attempt.queue, attempt.leaf_user);
        let share = attempt.share_mut(number);
        let wanted = &mut share.wanted;
        let has_other = |wanted: &std::collections::BTreeSet<(ShapeId, SchedulerKey)>| {
            wanted.range((shape, MIN_KEY)..=(shape, MAX_KEY)).next().is_some()
        };
        let is_change = if is_wanted {
            let is_first = !has_other(wanted);
            wanted.insert((shape, key));
            is_first
        } else {
            wanted.remove(&(shape, key));
            !has_other(wanted)
        };
        let app_key = share.key;
        let partition = &mut self.partitions[usize::from(number)];
        if !is_change {
            // Another key of it may be the first now.
            if let Some(leaf) = partition.leaf_mut(queue) {
                leaf.open_local.touch(shape);
            }
            return;
        }
        partition.shapes.take_walk(shape, (row, false));
        partition.want(&self.queues, &self.measures, (queue, user), (shape, app_key), is_wanted);
    }

    /// Where an attempt stands in its leaf's order: the same in every partition. O(partitions) by fair.
    pub(super) fn app_key(&self, row: u32) -> AppKey {
        let Some(attempt) = self.attempts.get(row) else { return AppKey::default() };
        let Some(app) = self.apps.get(attempt.app) else { return AppKey::default() };
        match self.queues.settings(attempt.queue).application_order {
            ApplicationOrder::Fifo => AppKey::fifo(app.priority, app.application_id, row),
            ApplicationOrder::Fair { size_based_weight } => {
                let (mut memory, mut pending) = (0, 0_u128);
                for share in &attempt.shares {
                    // As in YARN, what is reserved is not used by an application yet.
                    memory += share.used.memory_mb().saturating_sub(share.reserved.memory_mb());
                    pending = pending.saturating_add(share.pending.memory_mb());
                }
                let first = if size_based_weight {
                    let demand = pending.saturating_add(u128::from(memory));
                    // Thousandths: an order of amounts that are whole MiB.
                    (memory as f64 * 1_000.0 / (1.0 + demand as f64).log2().max(1.0)) as u64
                } else {
                    memory
                };
                AppKey { first, second: app.submit_time_ms, third: app.application_id.id, row }
            }
        }
    }

    /// Sets an attempt's place in its leaf's order where it is in none yet.
    pub(super) fn set_app_key(&mut self, row: u32) {
        let key = self.app_key(row);
        let partitions = self.partitions.len() as u16;
        let Some(attempt) = self.attempts.get_mut(row) else { return };
        for number in 0..partitions {
            attempt.share_mut(number).key = key;
        }
    }

    /// Moves an attempt to its new place in its leaf's order, after usage, demand or priority changed.
    pub(super) fn reorder(&mut self, row: u32) {
        let after = self.app_key(row);
        let Some(attempt) = self.attempts.get_mut(row) else { return };
        let (queue, user) = (attempt.queue, attempt.leaf_user);
        for share in &mut attempt.shares {
            let before = core::mem::replace(&mut share.key, after);
            if before == after {
                continue;
            }
            let partition = &mut self.partitions[usize::from(share.partition)];
            let mut next = ShapeId(0);
            while let Some((shape, _)) = share.wanted.range((next, MIN_KEY)..).next().copied() {
                next = ShapeId(shape.0 + 1);
                if partition.shapes.get(shape).walks.get(&(row, false)).is_some_and(|walk| walk.is_out) {
                    continue;
                }
                // Inserted first, so that the shape is offered all along.
                partition.want(&self.queues, &self.measures, (queue, user), (shape, after), true);
                partition.want(&self.queues, &self.measures, (queue, user), (shape, before), false);
            }
        }
    }

    /// The leaf's order depends on usage.
    #[inline]
    pub(super) fn is_fair(&self, queue: u32) -> bool {
        self.queues.settings(queue).application_order != ApplicationOrder::Fifo
    }

    /// Lets the asks look further whose wait is over.
    pub(super) fn look_further(&mut self, now: Instant) {
        while let Some(&(at, row, key)) = self.waits.first() {
            if at > now {
                break;
            }
            self.waits.pop_first();
            if let Some(ask) = self.attempts.get_mut(row).and_then(|attempt| attempt.asks.get_mut(&key)) {
                ask.deadline = None;
                self.refresh_key(now, row, key);
            }
        }
    }

    /// Puts back what a container that was never acquired took from its ask.
    pub(super) fn restore_ask(&mut self, now: Instant, row: u32, container: &RmContainer) {
        let Some((host, rack)) = self.nodes.get(container.node).map(|node| (node.host, node.rack)) else {
            return;
        };
        let key = container.key;
        let Some(attempt) = self.attempts.get_mut(row) else { return };
        // Who used an idle node of a shared label asked for the default partition.
        let partition = if container.ignores_exclusivity { 0 } else { container.partition };
        let spare = &mut self.spare_asks;
        let ask = attempt.asks.entry(key).or_insert_with(|| {
            let mut ask = KeyAsk::reuse(spare.pop(), now);
            ask.partition = partition;
            ask.size = container.resource.clone();
            ask.is_am = container.is_am;
            ask.has_no_label = partition == 0;
            ask
        });
        if ask.count > 0 && (ask.size != container.resource || ask.partition != partition) {
            // The key means something else by now; what it says is what the ApplicationMaster wants.
            return;
        }
        if ask.count == 0 {
            ask.partition = partition;
            ask.size = container.resource.clone();
            ask.relax_locality = container.relaxed.to_any;
            (ask.waits_since, ask.shared_since) = (now, now);
        }
        let put = |rows: &mut Vec<PlaceRow>, name: NameId| match place_of(rows, name) {
            Ok(place) => {
                rows[place].count = rows[place].count.saturating_add(1);
                false
            }
            Err(place) => {
                let relax_locality = container.relaxed.to_rack;
                rows.insert(place, PlaceRow { name, count: 1, relax_locality });
                true
            }
        };
        let count = ask.count.saturating_add(1);
        let has_host = container.locality == Locality::NodeLocal && put(&mut ask.hosts, host);
        let has_rack = container.locality <= Locality::RackLocal && put(&mut ask.racks, rack);
        attempt.places += usize::from(has_host) + usize::from(has_rack);
        if has_host {
            self.hosts.hold_again(host);
            self.change_reach(now, row, key, Reach::Host(host), true);
        }
        if has_rack {
            self.racks.hold_again(rack);
            if container.relaxed.to_rack {
                self.change_reach(now, row, key, Reach::Rack(rack), true);
            }
        }
        self.set_count(now, row, key, count);
        self.refresh_key(now, row, key);
    }
}

/// Before every key.
pub(super) const MIN_KEY: SchedulerKey = AM_KEY;

/// After every key.
pub(super) const MAX_KEY: SchedulerKey = SchedulerKey { priority: i32::MAX, allocation_request_id: i64::MAX };
