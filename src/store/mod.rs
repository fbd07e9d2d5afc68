//! The state store: what has to be durable before anybody may see it.
//! Owns: [`StateStore`], and [`MemoryStore`], which keeps it as long as the process lives. Called by: the duty cycle of
//! `rm-app` (or a thread of the store's own), with everything one step of the application manager wants written.
//! Does not: decide what is stored or when something becomes visible; the application manager does, by the
//! acknowledgements.
//! Invariant: an operation is acknowledged after it is durable, in the order of the operations.

mod memory;

pub use memory::{MemoryStore, StoredApplication};

use crate::engine::application::{StoreEvent, StoreOperation};

/// Something that keeps records.
///
/// # Groups
/// Operations come in groups: everything that was said in one step, often of many applications. A group is one commit:
/// when [`StateStore::apply`] returns, every operation of it that was acknowledged without an error is durable, and so is
/// everything acknowledged before. A store that fails as a whole acknowledges every operation of the group with
/// [`StoreError::Unavailable`](crate::engine::application::message::StoreError::Unavailable); none of them may be there
/// after a restart *unless* the failure was in hearing of the success, so every operation must be safe to repeat.
///
/// # Operations
/// * `SaveApplication`: a record whose id is there already is a conflict, but an equal one, which is a repeated operation.
/// * `UpdateApplication`: only the part that changes is written; a conflict where the application is not there.
/// * `SaveAttempt`, `UpdateAttempt`: written, whether the attempt is there or not (one that ends early is never saved
///   before its final state); a conflict where the application is not there.
/// * `RemoveAttempt`, `RemoveApplication` (with its attempts): what is not there is removed.
pub trait StateStore: Send {
    /// Carries out a group in order and appends one acknowledgement for each operation that wants one, in the same order.
    fn apply(&mut self, group: &[StoreOperation], events: &mut Vec<StoreEvent>);
}
