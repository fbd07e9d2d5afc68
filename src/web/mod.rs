//! The HTTP door: `GET /metrics` for scrapers, `GET /health` for probes and people.
//! Owns: the listener, the thread `rm-http` with its own runtime. Called by: the command line, which starts and stops it.
//! Does not: touch the engine; it reads published snapshots. REST and pages come to stand here.
//!
//! Invariant: at most `requests_max` connections are served at a time, each for at most `request_timeout`, whatever its
//! peer sends or does not send; the others wait in the kernel's queue.

mod health;
mod listener;
mod server;

pub use health::{Condition, Health, RecordingHealth, RoleHealth, Stage};
pub use server::{Sources, WebError, WebServer};
