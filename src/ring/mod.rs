//! Rings: bounded, typed hand-off between threads. The name says how many may call each end.
//! Owns: [`SpscProducer`]/[`SpscConsumer`] over `rtrb`, [`MpscQueue`] over `crossbeam`, and [`Full`].
//! Called by: the runtime's proxies; each end by the thread it was given to. Does not: wake anybody (see
//! `runtime::idle`), grow, or drop. Policy when full: the item comes back to its sender, who decides.
//! Invariants: first in, first out per producer; an item is in exactly one place.

mod mpsc;
mod spsc;

pub use mpsc::MpscQueue;
pub use spsc::{SpscConsumer, SpscProducer, spsc};

/// The ring is full; here is the item again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);
