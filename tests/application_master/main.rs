//! The ApplicationMasters' door, clause by clause, in frames: sessions, allocate, events, tokens, liveliness.
//! Owns: nothing; each module is a topic. Does not: test placement. Source: YARN ApplicationMasterService.

mod allocate;
mod events;
mod fake;
mod sessions;
mod tokens;
