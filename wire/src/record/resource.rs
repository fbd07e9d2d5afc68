//! Amounts: what a node offers, what a container has, what is measured.
//! Owns: `Resource`, `ResourceUtilization`, the types a cluster knows. Called by: every protocol. Does not: calculate with them.

use rkyv::{Archive, Deserialize, Serialize};

/// An amount of every resource type. Missing extended types mean 0.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resource {
    /// Memory, MiB.
    pub memory_mb: u64,
    /// Virtual cores.
    pub virtual_cores: u32,
    /// Everything else, for example `yarn.io/gpu`. Names are distinct; at most
    /// [`EXTENDED_RESOURCES_MAX`](crate::limits::EXTENDED_RESOURCES_MAX).
    pub extended: Vec<ResourceInformation>,
}

impl Resource {
    /// Memory and virtual cores, nothing else.
    #[must_use]
    pub const fn new(memory_mb: u64, virtual_cores: u32) -> Self {
        Self { memory_mb, virtual_cores, extended: Vec::new() }
    }
}

/// An amount of one extended resource type.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourceInformation {
    /// The type's name, for example `yarn.io/gpu`.
    pub name: String,
    /// How much, in `units`.
    pub value: u64,
    /// The unit: empty, `k`, `M`, `G`, `Ki`, `Mi`, `Gi`, …
    pub units: String,
}

/// A resource type the cluster knows. All are countable.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourceTypeInfo {
    /// Its name: `memory-mb`, `vcores`, `yarn.io/gpu`, …
    pub name: String,
    /// The unit in which the ResourceManager counts it: `Mi` for memory, empty, `k`, …
    pub units: String,
}

/// A dimension the scheduler looks at.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rkyv(derive(Clone, Copy, Debug, PartialEq, Eq))]
#[repr(u8)]
pub enum SchedulerResourceTypes {
    /// Memory.
    Memory = 0,
    /// Virtual cores, and with them every extended type: the dominant share decides.
    Cpu = 1,
}

/// Measured use.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[rkyv(derive(Clone, Copy))]
pub struct ResourceUtilization {
    /// Physical memory, MiB.
    pub physical_memory_mb: u32,
    /// Virtual memory, MiB.
    pub virtual_memory_mb: u32,
    /// CPU, thousandths of a core, summed over cores (YARN: a float, 1.0 = one core).
    pub cpu_millicores: u32,
}

impl ArchivedResourceUtilization {
    /// The record itself.
    #[must_use]
    #[inline]
    pub const fn to_native(&self) -> ResourceUtilization {
        ResourceUtilization {
            physical_memory_mb: self.physical_memory_mb.to_native(),
            virtual_memory_mb: self.virtual_memory_mb.to_native(),
            cpu_millicores: self.cpu_millicores.to_native(),
        }
    }
}
