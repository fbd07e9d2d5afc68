//! Replay: steps the recorded roles without threads and compares the hash of their output, cycle by cycle.
//! Owns: [`replay`] and its report. Called by: `heddle replay`, tests. Thread: the caller's.
//! Does not: talk to anybody or read a clock.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::application_stepper::ApplicationStepper;
use super::scheduling_stepper::SchedulingStepper;
use super::stepper::ShardStepper;
use super::tape::{Header, Record, TapeEnd, TapeError, TapeReader};
use crate::engine::batch::{AnswerBatch, FrameBatch};
use crate::engine::time::Instant;

/// Why a recording cannot be replayed at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The folder cannot be listed.
    #[error("cannot read the recording's folder {folder}: {error}", folder = folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the file system said.
        error: std::io::Error,
    },
    /// There is nothing to replay.
    #[error("no *.tape in {folder}: record with `heddle resourcemanager --record {folder}`", folder = folder.display())]
    NoTapes {
        /// The folder.
        folder: PathBuf,
    },
    /// A tape cannot be read.
    #[error("{path}: {error}", path = path.display())]
    Tape {
        /// The tape.
        path: PathBuf,
        /// Why.
        error: TapeError,
    },
}

/// The first cycle whose output was another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The cycle, from 0.
    pub cycle: u64,
    /// Time of the cycle's last input.
    pub at: Instant,
    /// Hash on the tape.
    pub recorded: u64,
    /// Hash of the replay.
    pub replayed: u64,
}

/// What replaying one role showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleReport {
    /// The tape, as a path within the recording: `1700000000000/shard-0`.
    pub role: String,
    /// Version of Heddle that recorded.
    pub version: String,
    /// Cycles compared.
    pub cycles: u64,
    /// Inputs stepped.
    pub inputs: u64,
    /// Frames among them.
    pub frames: u64,
    /// Time of the last input.
    pub until: Instant,
    /// How the tape ended; `None` where it was not read to its end because of a divergence.
    pub end: Option<TapeEnd>,
    /// Hash of all output.
    pub output: u64,
    /// The first difference, if any; the role is not stepped past it.
    pub divergence: Option<Divergence>,
}

/// What a replay showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// By role, sorted by name.
    pub roles: Vec<RoleReport>,
}

impl ReplayReport {
    /// True when every role said the same as recorded.
    #[must_use]
    pub fn is_identical(&self) -> bool {
        self.roles.iter().all(|role| role.divergence.is_none())
    }
}

/// Replays every tape in `folder`, and in its folders: each start of a ResourceManager records into one of its own.
///
/// # Errors
/// [`ReplayError`] where a tape cannot be read. A role that says something else is no error but a divergence.
pub fn replay(folder: &Path) -> Result<ReplayReport, ReplayError> {
    let mut paths = Vec::new();
    for entry in entries(folder)? {
        if entry.is_dir() {
            paths.extend(entries(&entry)?.into_iter().filter(|path| is_tape(path)));
        } else if is_tape(&entry) {
            paths.push(entry);
        }
    }
    if paths.is_empty() {
        return Err(ReplayError::NoTapes { folder: folder.to_owned() });
    }
    paths.sort();
    let mut report = ReplayReport::default();
    for path in paths {
        let mut role = match replay_tape(&path) {
            Ok(role) => role,
            Err(error) => return Err(ReplayError::Tape { path, error }),
        };
        role.role = path.strip_prefix(folder).unwrap_or(&path).with_extension("").display().to_string();
        report.roles.push(role);
    }
    Ok(report)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ReplayError> {
    let in_folder = |error| ReplayError::Folder { folder: folder.to_owned(), error };
    let entries = std::fs::read_dir(folder).map_err(in_folder)?;
    entries.map(|entry| Ok(entry.map_err(in_folder)?.path())).collect()
}

fn is_tape(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tape")
}

fn replay_tape(path: &Path) -> Result<RoleReport, TapeError> {
    let (mut tape, header) = TapeReader::open(BufReader::with_capacity(1 << 20, File::open(path)?))?;
    let (version, mut role) = match header {
        Header::Shard { version, settings } => {
            (version, Role::Shard(Box::new(ShardStepper::for_replay(*settings)), AnswerBatch::default()))
        }
        Header::Scheduling { version, settings } => {
            let stepper = Box::new(SchedulingStepper::for_replay(*settings));
            (version, Role::Scheduling(stepper, AnswerBatch::default()))
        }
        Header::Application { version, settings, queues } => {
            let stepper = Box::new(ApplicationStepper::for_replay(*settings, *queues));
            (version, Role::Application(stepper, AnswerBatch::default()))
        }
    };
    let mut report = RoleReport {
        role: String::new(),
        version,
        cycles: 0,
        inputs: 0,
        frames: 0,
        until: Instant::ZERO,
        end: None,
        output: 0,
        divergence: None,
    };
    let mut batch = FrameBatch::default();
    while let Some(record) = tape.next_record(&mut batch)? {
        if let Record::CycleEnd { output: recorded } = record {
            let replayed = role.end_cycle();
            report.output = replayed;
            if replayed != recorded {
                report.divergence =
                    Some(Divergence { cycle: report.cycles, at: report.until, recorded, replayed });
                break;
            }
            report.cycles += 1;
            continue;
        }
        report.inputs += 1;
        if matches!(record, Record::Frames { .. }) {
            report.frames += batch.len() as u64;
        }
        if let Some(now) = role.step(record, &batch) {
            report.until = now;
        }
    }
    report.end = tape.end();
    Ok(report)
}

enum Role {
    Shard(Box<ShardStepper>, AnswerBatch),
    Scheduling(Box<SchedulingStepper>, AnswerBatch),
    Application(Box<ApplicationStepper>, AnswerBatch),
}

impl Role {
    /// Takes an input. An input of another kind of role is passed over; the hash will tell.
    fn step(&mut self, record: Record, batch: &FrameBatch) -> Option<Instant> {
        match self {
            Self::Shard(shard, answers) => step_shard(shard, record, batch, answers),
            Self::Scheduling(scheduling, answers) => step_scheduling(scheduling, record, batch, answers),
            Self::Application(application, answers) => step_application(application, record, batch, answers),
        }
    }

    fn end_cycle(&mut self) -> u64 {
        match self {
            Self::Shard(shard, _) => {
                let output = shard.end_cycle().unwrap_or_default();
                let outbox = shard.outbox();
                outbox.pushes.clear();
                outbox.replies.clear();
                outbox.notices.clear();
                output
            }
            Self::Scheduling(scheduling, _) => scheduling.end_cycle().unwrap_or_default(),
            Self::Application(application, _) => application.end_cycle().unwrap_or_default(),
        }
    }
}

fn step_shard(
    shard: &mut ShardStepper,
    record: Record,
    batch: &FrameBatch,
    answers: &mut AnswerBatch,
) -> Option<Instant> {
    match record {
        Record::Tick { now, busy_permille } => {
            shard.handle_tick(now, busy_permille);
            Some(now)
        }
        Record::Frames { now, .. } => {
            answers.clear();
            shard.handle_frames(now, batch, 0, answers);
            Some(now)
        }
        Record::ShardCommand { now, command } => {
            shard.handle_shard_command(now, command);
            Some(now)
        }
        Record::NodeCommand { now, command } => {
            // A full list gave it back in the recorded run too.
            let _ = shard.handle_node_command(now, command);
            Some(now)
        }
        Record::PollNodeEvent => {
            let _ = shard.poll_node_event();
            None
        }
        _ => None,
    }
}

fn step_scheduling(
    scheduling: &mut SchedulingStepper,
    record: Record,
    batch: &FrameBatch,
    answers: &mut AnswerBatch,
) -> Option<Instant> {
    answers.clear();
    let now = match record {
        Record::Tick { now, .. } => {
            scheduling.handle_tick(now);
            now
        }
        Record::Frames { now, .. } => {
            scheduling.handle_frames(now, batch, 0, answers);
            now
        }
        Record::NodeEvent { now, event } => {
            scheduling.handle_node_event(now, *event);
            now
        }
        Record::SchedulerCommand { now, command } => {
            scheduling.handle_command(now, *command);
            now
        }
        Record::EndStep { now } => {
            scheduling.end_step(now, answers);
            now
        }
        _ => return None,
    };
    // As the role does after each input.
    let output = scheduling.output();
    output.node_commands.clear();
    output.application_events.clear();
    output.notices.clear();
    Some(now)
}

fn step_application(
    application: &mut ApplicationStepper,
    record: Record,
    batch: &FrameBatch,
    answers: &mut AnswerBatch,
) -> Option<Instant> {
    answers.clear();
    let now = match record {
        Record::Tick { now, .. } => {
            application.handle_tick(now);
            now
        }
        Record::Frames { now, .. } => {
            application.handle_frames(now, batch, 0, answers);
            now
        }
        Record::ApplicationEvent { now, event } => {
            application.handle_application_event(now, *event);
            now
        }
        Record::StoreEvent { now, event } => {
            application.handle_store_event(now, event);
            now
        }
        Record::ApplicationCommand { now, command } => {
            application.handle_command(now, *command);
            now
        }
        _ => return None,
    };
    application.output().clear();
    Some(now)
}
