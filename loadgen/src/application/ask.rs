//! The rows of an ask as they go on the wire, taking part of one back, and sets of containers.
//! Owner: [`SimulatedAm`](super::SimulatedAm). Called by: it only.
//! Does not: decide when to ask. Invariant: the row for any place carries the count of the whole ask.

use std::sync::Arc;

use heddle_wire::limits::ASKS_MAX;
use heddle_wire::record::{ExecutionType, Resource, ResourceName, ResourceRequest};

use crate::fleet::Chance;
use crate::workload::{ApplicationSpec, TaskGroup};

use super::tasks::TaskPlan;

/// Most containers of one attempt that are told apart; a peer that numbers higher is not followed.
const CONTAINERS_MAX: u64 = 1 << 26;

/// Takes part of an ask back for one call: what an ApplicationMaster does that changes its mind.
pub(super) fn cancel_some(plan: &mut TaskPlan, chance: &mut Chance) -> Option<(u32, u32)> {
    let groups = u32::try_from(plan.groups().len()).unwrap_or(u32::MAX);
    let group = chance.below(groups);
    let wanted = (group < groups).then(|| plan.ledger(group).wanted())?;
    let count = plan.lower(group, 1 + chance.below(wanted.max(1)));
    (count > 0).then_some((group, count))
}

/// The rows of a group's ask. Places are said with the first one; later ones say only how many are wanted in all.
pub(super) fn push_asks(
    asks: &mut Vec<ResourceRequest>,
    group: &TaskGroup,
    spec: &ApplicationSpec,
    count: u32,
    seen: u64,
    is_first: bool,
) {
    let row = |resource_name, count: u32, relax_locality| ResourceRequest {
        priority: group.priority,
        allocation_request_id: group.allocation_request_id,
        resource_name,
        capability: group.resource.clone(),
        num_containers: i32::try_from(count).unwrap_or(i32::MAX),
        relax_locality,
        node_label_expression: None,
        execution_type: ExecutionType::Guaranteed,
        enforce_execution_type: false,
        grants_seen: Some(seen),
    };
    if is_first {
        let mut racks: Vec<(&Arc<str>, u32)> = Vec::new();
        for place in group.localities.iter().take((ASKS_MAX - 1) / 2) {
            match racks.iter_mut().find(|rack| rack.0 == &place.rack) {
                Some(rack) => rack.1 = rack.1.saturating_add(place.count),
                None => racks.push((&place.rack, place.count)),
            }
            if let Some(host) = &place.host {
                asks.push(row(ResourceName::Host(host.to_string()), place.count.min(count), true));
            }
        }
        for (rack, wanted) in racks {
            asks.push(row(ResourceName::Rack(rack.to_string()), wanted.min(count), group.relax_locality));
        }
    }
    let mut any = row(ResourceName::Any, count, group.relax_locality);
    any.node_label_expression = group.label.as_ref().or(spec.label.as_ref()).map(|label| label.to_string());
    asks.push(any);
}

/// An ask for one size of container, anywhere.
pub(super) fn plain_ask(resource: Resource) -> ResourceRequest {
    ResourceRequest {
        priority: 1,
        allocation_request_id: -1,
        resource_name: ResourceName::Any,
        capability: resource,
        num_containers: 0,
        relax_locality: true,
        node_label_expression: None,
        execution_type: ExecutionType::Guaranteed,
        enforce_execution_type: false,
        grants_seen: None,
    }
}

/// A set of container sequences, a bit each. Grows with the highest.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Puts `at` in. False when it was in already, or is beyond [`CONTAINERS_MAX`].
    pub(super) fn insert(&mut self, at: u64) -> bool {
        if at >= CONTAINERS_MAX {
            return false;
        }
        let (word, bit) = ((at / 64) as usize, 1 << (at % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let was_in = self.0[word] & bit != 0;
        self.0[word] |= bit;
        !was_in
    }

    pub(super) fn contains(&self, at: u64) -> bool {
        self.0.get((at / 64) as usize).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }
}
