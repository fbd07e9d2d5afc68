//! Containers: their states as a table, and the slab they live in.
//! Owns: `RmContainer`, `Containers`, [`RmContainerState`]. Called by: the scheduler, on its thread.
//! Does not: charge anybody; whoever moves a container keeps the sums.
//! Invariants: a container in the slab is live (NEW to RUNNING); it ends once and leaves the slab with that.
//!
//! Source: YARN RMContainerImpl. Reservations live in `reservation` and become containers when they are fulfilled, so
//! that they need no id before; their rows are in the table all the same.

use heddle_wire::record::ContainerId;

use super::face::SchedulerKey;
use super::resource::ResourceVector;
use crate::engine::time::Instant;

/// YARN's states of a container, in its order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RmContainerState {
    /// Being made.
    #[default]
    New,
    /// A node keeps its room free for it.
    Reserved,
    /// Granted; the ApplicationMaster does not know yet.
    Allocated,
    /// The ApplicationMaster knows.
    Acquired,
    /// Its node reports it running.
    Running,
    /// Ended by itself.
    Completed,
    /// Taken back: its node did not report it in time.
    Expired,
    /// Given back by its ApplicationMaster.
    Released,
    /// Ended by the ResourceManager, or with its node.
    Killed,
}

/// What happens to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RmContainerEvent {
    /// Granted.
    Start,
    /// A node is kept for it.
    Reserve,
    /// Told to the ApplicationMaster.
    Acquire,
    /// Its node reports it running.
    Launch,
    /// Its node reports its end.
    Finish,
    /// Given back.
    Release,
    /// Not reported in time.
    Expire,
    /// Ended by the ResourceManager, or with its node.
    Kill,
}

/// What an event does to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// This is the state now.
    To(RmContainerState),
    /// Nothing: the event came late, as it may.
    Ignored,
    /// Cannot happen: counted, logged, and without effect.
    Impossible,
}

impl RmContainerState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::New,
        Self::Reserved,
        Self::Allocated,
        Self::Acquired,
        Self::Running,
        Self::Completed,
        Self::Expired,
        Self::Released,
        Self::Killed,
    ];

    /// Whether it has ended.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Expired | Self::Released | Self::Killed)
    }

    /// The table of `spec/lifecycle.md` §4.1.
    #[must_use]
    pub const fn on(self, event: RmContainerEvent) -> Transition {
        use RmContainerEvent as On;
        use Transition::{Ignored, Impossible, To};
        match (self, event) {
            (Self::New | Self::Reserved, On::Start) => To(Self::Allocated),
            (Self::New | Self::Reserved, On::Reserve) => To(Self::Reserved),
            (Self::New | Self::Allocated | Self::Acquired, On::Acquire) => To(Self::Acquired),
            (Self::Running, On::Acquire | On::Reserve) => To(Self::Running),
            (Self::Acquired, On::Launch) => To(Self::Running),
            (Self::Acquired | Self::Running, On::Finish) => To(Self::Completed),
            (Self::Reserved | Self::Acquired | Self::Running, On::Release) => To(Self::Released),
            // Differs from YARN, where ALLOCATED cannot be released: an ask that is taken back voids its grant.
            (Self::Allocated, On::Release) => To(Self::Released),
            (Self::Allocated | Self::Acquired, On::Expire) => To(Self::Expired),
            (Self::New | Self::Reserved | Self::Allocated | Self::Acquired | Self::Running, On::Kill) => {
                To(Self::Killed)
            }
            (Self::Completed | Self::Released | Self::Killed, On::Expire | On::Release | On::Kill)
            | (Self::Expired, On::Release | On::Kill)
            | (Self::Released | Self::Killed, On::Finish)
            | (Self::Killed, On::Acquire) => Ignored,
            (Self::New, On::Launch | On::Finish | On::Release | On::Expire)
            | (Self::Reserved, On::Acquire | On::Launch | On::Finish | On::Expire)
            | (Self::Allocated, On::Start | On::Reserve | On::Launch | On::Finish)
            | (Self::Acquired, On::Start | On::Reserve)
            | (Self::Running, On::Start | On::Launch | On::Expire)
            | (Self::Completed | Self::Released, On::Start | On::Reserve | On::Acquire | On::Launch)
            | (Self::Completed, On::Finish)
            | (Self::Expired, On::Start | On::Reserve | On::Acquire | On::Launch | On::Finish | On::Expire)
            | (Self::Killed, On::Start | On::Reserve | On::Launch) => Impossible,
        }
    }
}

/// How near a container is to where it was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Locality {
    /// On a host the ask names.
    NodeLocal,
    /// On a rack the ask names.
    RackLocal,
    /// Anywhere.
    OffSwitch,
}

/// Where else an ask was content to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Relaxed {
    /// Anywhere.
    pub(super) to_any: bool,
    /// On the rack of the node it was given.
    pub(super) to_rack: bool,
}

/// Index of a container in [`Containers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ContainerIndex(pub(super) u32);

/// A live container.
#[derive(Clone, Debug)]
pub(super) struct RmContainer {
    /// Its id.
    pub(super) id: ContainerId,
    /// Its size.
    pub(super) resource: ResourceVector,
    /// For which ask.
    pub(super) key: SchedulerKey,
    /// When it was granted.
    pub(super) granted_at: Instant,
    /// Index of its application.
    pub(super) app: u32,
    /// Index of its node.
    pub(super) node: u32,
    /// The partition it is charged to.
    pub(super) partition: u16,
    /// Its state.
    pub(super) state: RmContainerState,
    /// Which rows of the ask it took from, to put it back.
    pub(super) locality: Locality,
    /// How strict the ask was, to put it back.
    pub(super) relaxed: Relaxed,
    /// It is an ApplicationMaster's.
    pub(super) is_am: bool,
    /// It uses an idle node of a shared label for an ask without label.
    pub(super) ignores_exclusivity: bool,
}

/// The live containers.
#[derive(Debug, Default)]
pub(super) struct Containers {
    slab: Vec<RmContainer>,
    free: Vec<ContainerIndex>,
}

impl Containers {
    /// Adds one.
    #[inline]
    pub(super) fn insert(&mut self, container: RmContainer) -> ContainerIndex {
        if let Some(index) = self.free.pop() {
            self.slab[index.0 as usize] = container;
            return index;
        }
        self.slab.push(container);
        ContainerIndex(self.slab.len() as u32 - 1)
    }

    /// A live one.
    #[inline]
    pub(super) fn get(&self, index: ContainerIndex) -> &RmContainer {
        &self.slab[index.0 as usize]
    }

    /// A live one.
    #[inline]
    pub(super) fn get_mut(&mut self, index: ContainerIndex) -> &mut RmContainer {
        &mut self.slab[index.0 as usize]
    }

    /// Takes one out.
    #[inline]
    pub(super) fn remove(&mut self, index: ContainerIndex) -> RmContainer {
        self.free.push(index);
        self.slab[index.0 as usize].clone()
    }

    /// How many live.
    pub(super) fn len(&self) -> usize {
        self.slab.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::RmContainerEvent::{Acquire, Expire, Finish, Kill, Launch, Release, Reserve, Start};
    use super::*;

    /// Every pair, as rows of the specification: state, then what each event does in the order of the columns.
    #[test]
    fn every_pair_of_state_and_event_is_as_specified() {
        use RmContainerState as S;
        let columns = [Start, Reserve, Acquire, Launch, Finish, Release, Expire, Kill];
        let rows = [
            (S::New, "ALLO RESE ACQU - - - - KILL"),
            (S::Reserved, "ALLO RESE - - - RELE - KILL"),
            (S::Allocated, "- - ACQU - - RELE EXPI KILL"),
            (S::Acquired, "- - ACQU RUNN COMP RELE EXPI KILL"),
            (S::Running, "- RUNN RUNN - COMP RELE - KILL"),
            (S::Completed, "- - - - - . . ."),
            (S::Expired, "- - - - - . - ."),
            (S::Released, "- - - - . . . ."),
            (S::Killed, "- - . - . . . ."),
        ];
        for (state, row) in rows {
            for (event, cell) in columns.into_iter().zip(row.split(' ')) {
                let expected = match cell {
                    "-" => Transition::Impossible,
                    "." => Transition::Ignored,
                    name => Transition::To(
                        S::ALL
                            .into_iter()
                            .find(|state| format!("{state:?}").to_uppercase().starts_with(name))
                            .unwrap(),
                    ),
                };
                assert_eq!(state.on(event), expected, "{state:?} on {event:?}");
            }
        }
        assert_eq!(rows.len(), S::ALL.len());
    }
}
