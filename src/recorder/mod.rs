//! Flight recorder: what went into an engine role, in order, and a hash of what came out; and its replay.
//! Owns: the tape format, the tape writer, [`ShardStepper`], [`SchedulingStepper`] and
//! [`ApplicationStepper`] (a role with its tape), [`replay`].
//! Called by: the roles of `runtime` (record), the command line (replay), tests. Threads: the role's own for steppers,
//! `rm-recorder` for files. Does not: slow a role down; a disk that cannot follow ends the recording, marked as such.

mod application_stepper;
mod replay;
mod scheduling_stepper;
mod stepper;
mod tape;
#[cfg(test)]
mod tests;
mod writer;

pub use application_stepper::ApplicationStepper;
pub use replay::{Divergence, ReplayError, ReplayReport, RoleReport, replay};
pub use scheduling_stepper::SchedulingStepper;
pub use stepper::ShardStepper;
pub use tape::{Header, Record, TapeEnd, TapeError, TapeReader};
pub use writer::{RecorderThread, TapeStatus, TapeWriter, start};
