//! Amounts: from the wire into the engine's shape and back.
//! Owns: nothing. Called by: the other files of the shard, on the shard's thread.
//! Does not: check ranges (the records' `check` did), convert units.
//! Invariant: extended types are sorted by name and distinct, so that equal amounts are equal values.

use heddle_wire::record as wire;

use crate::engine::event::{ExtendedResource, Resource};

/// A resource as a peer sent it. Of an extended type that is named twice the first counts.
pub(super) fn from_archived(archived: &wire::ArchivedResource) -> Resource {
    let mut extended: Vec<ExtendedResource> = archived
        .extended
        .iter()
        .map(|information| ExtendedResource {
            name: (*information.name).into(),
            value: information.value.to_native(),
            units: (*information.units).into(),
        })
        .collect();
    extended.sort_by(|left, right| left.name.cmp(&right.name));
    extended.dedup_by(|later, earlier| later.name == earlier.name);
    Resource {
        memory_mb: archived.memory_mb.to_native(),
        virtual_cores: archived.virtual_cores.to_native(),
        extended: extended.into(),
    }
}

/// True where a peer says what is known already. Cost: two comparisons without extended types.
pub(super) fn is_same(known: &Resource, archived: &wire::ArchivedResource) -> bool {
    known.memory_mb == archived.memory_mb.to_native()
        && known.virtual_cores == archived.virtual_cores.to_native()
        && if archived.extended.is_empty() {
            known.extended.is_empty()
        } else {
            *known == from_archived(archived)
        }
}

/// A resource as it goes on the wire.
pub(super) fn to_wire(resource: &Resource) -> wire::Resource {
    let extended = resource
        .extended
        .iter()
        .map(|item| wire::ResourceInformation {
            name: item.name.to_string(),
            value: item.value,
            units: item.units.to_string(),
        })
        .collect();
    wire::Resource { memory_mb: resource.memory_mb, virtual_cores: resource.virtual_cores, extended }
}
