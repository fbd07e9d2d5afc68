//! A role's last word to another: nothing more comes from me.
//! Owns: [`Done`]. Called by: the role that ends (set), the one that waits for it (read), each on its own thread.
//! Does not: wake anybody, or say that a thread has ended: roles that share a thread end one after the other.
//! Invariant: once set it stays, and what was sent before it can be seen by whoever sees it.

use std::sync::atomic::{AtomicBool, Ordering};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Done(AtomicBool);

impl Done {
    /// Nothing more comes. Returns true the first time.
    pub(super) fn set(&self) -> bool {
        // Partner: the load in `is_set`; releases what was sent before.
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Whether it was said.
    pub(super) fn is_set(&self) -> bool {
        // Partner: `set`.
        self.0.load(Ordering::Acquire)
    }
}
