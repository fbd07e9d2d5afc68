//! The tape: a role's inputs in cycle order, as compressed blocks of records.
//! Owns: the file layout, [`Record`], [`TapeReader`]. Called by: the steppers (encode), replay (decode).
//! Does not: open files or know roles beyond the names of their messages.
//!
//! Layout: `HDLTAPE5`, u32 length and postcard bytes of the [`Header`], then blocks: u32 raw length, u32 stored length,
//! that many bytes of LZ4. A block holds whole records. A raw length of 0 ends the tape; the stored length then says
//! how: 0 the role stopped, 1 the recorder could not follow. A tape without an end was cut by a crash.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::engine::application::{ApplicationCommand, ApplicationSettings, StoreEvent};
use crate::engine::batch::{Caller, FrameBatch, PeerId, StreamRef};
use crate::engine::event::{NodeCommand, NodeEvent, ShardCommand};
use crate::engine::scheduler::message::{ApplicationEvent, SchedulerCommand};
use crate::engine::scheduler::settings::{QueueTree, SchedulerSettings};
use crate::engine::settings::ShardSettings;
use crate::engine::time::Instant;

/// First bytes of a tape.
pub(super) const MAGIC: &[u8; 8] = b"HDLTAPE5";

/// Records are collected into blocks of about this size.
pub(super) const BLOCK_SIZE: usize = 1024 * 1024;

/// Largest block a reader accepts: a block and the largest record, generously.
const BLOCK_SIZE_MAX: u32 = 64 * 1024 * 1024;

/// Largest header a reader accepts.
const HEADER_SIZE_MAX: u32 = 64 * 1024 * 1024;

/// What a tape is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Header {
    /// A node shard with these settings.
    Shard {
        /// Version of Heddle that recorded.
        version: String,
        /// The role's settings. Contains the master keys: a tape is as secret as they are.
        settings: Box<ShardSettings>,
    },
    /// The scheduler with the ApplicationMasters' door.
    Scheduling {
        /// Version of Heddle that recorded.
        version: String,
        /// The role's settings, with the keys of tokens.
        settings: Box<SchedulerSettings>,
    },
    /// The application manager.
    Application {
        /// Version of Heddle that recorded.
        version: String,
        /// The role's settings.
        settings: Box<ApplicationSettings>,
        /// The queues at its start.
        queues: Box<QueueTree>,
    },
}

/// One input of a role, or the hash of its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// The role was ticked.
    Tick {
        /// When.
        now: Instant,
        /// Share of time its thread worked.
        busy_permille: u16,
    },
    /// Frames came in. The frames themselves follow the record, see [`TapeReader::next_record`].
    Frames {
        /// When.
        now: Instant,
        /// Where each came from and its size.
        frames: Vec<(StreamRef, PeerId, u32)>,
        /// Who the peers are, for roles that decide by user names: each from a frame of this record on.
        callers: Vec<(u32, Caller)>,
    },
    /// A message for the shard.
    ShardCommand {
        /// When.
        now: Instant,
        /// The message.
        command: ShardCommand,
    },
    /// An order for a node.
    NodeCommand {
        /// When.
        now: Instant,
        /// The order.
        command: NodeCommand,
    },
    /// A node event was polled.
    PollNodeEvent,
    /// A node event came in (scheduler).
    NodeEvent {
        /// When.
        now: Instant,
        /// The event.
        event: Box<NodeEvent>,
    },
    /// A command of the application manager came in (scheduler).
    SchedulerCommand {
        /// When.
        now: Instant,
        /// The command.
        command: Box<SchedulerCommand>,
    },
    /// What came in was acted on (scheduler).
    EndStep {
        /// When.
        now: Instant,
    },
    /// An event of the scheduler came in (application manager).
    ApplicationEvent {
        /// When.
        now: Instant,
        /// The event.
        event: Box<ApplicationEvent>,
    },
    /// The store has acknowledged something (application manager).
    StoreEvent {
        /// When.
        now: Instant,
        /// What.
        event: StoreEvent,
    },
    /// An administrator's command came in (application manager).
    ApplicationCommand {
        /// When.
        now: Instant,
        /// The command.
        command: Box<ApplicationCommand>,
    },
    /// A cycle ended.
    CycleEnd {
        /// Hash of all output since the tape's start.
        output: u64,
    },
}

/// Why a tape cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TapeError {
    /// The file system said so.
    #[error("cannot read the tape: {0}")]
    Io(#[from] io::Error),
    /// It is not a tape.
    #[error("not a tape: it begins with {found:02x?}, accepted is {accepted:02x?} (\"HDLTAPE5\")", accepted = MAGIC)]
    BadMagic {
        /// The first bytes.
        found: [u8; 8],
    },
    /// A length is beyond what a writer makes.
    #[error("block {block} says it has {found} bytes, accepted are at most {accepted}: the file is damaged")]
    BadLength {
        /// Which block, from 0; the header is 0 too.
        block: u64,
        /// The length.
        found: u32,
        /// The limit.
        accepted: u32,
    },
    /// A block or record does not decode.
    #[error("block {block} does not decode ({reason}): the file is damaged or of another version")]
    Damaged {
        /// Which block, from 0.
        block: u64,
        /// What the decoder said.
        reason: String,
    },
}

/// How a tape ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapeEnd {
    /// The role stopped.
    Clean,
    /// The recorder could not follow the role; what is there is whole.
    Truncated,
    /// No end was written: the process died. Whole blocks are there.
    Cut,
}

/// Reads a tape from anything.
#[derive(Debug)]
pub struct TapeReader<R> {
    source: R,
    block: Vec<u8>,
    position: usize,
    block_index: u64,
    end: Option<TapeEnd>,
}

impl<R: Read> TapeReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`TapeError`].
    pub fn open(mut source: R) -> Result<(Self, Header), TapeError> {
        let mut found = [0; 8];
        source.read_exact(&mut found)?;
        if found != *MAGIC {
            return Err(TapeError::BadMagic { found });
        }
        let size = read_u32(&mut source)?;
        if size > HEADER_SIZE_MAX {
            return Err(TapeError::BadLength { block: 0, found: size, accepted: HEADER_SIZE_MAX });
        }
        let bytes = read_exactly(&mut source, size)?;
        let header = postcard::from_bytes(&bytes)
            .map_err(|error| TapeError::Damaged { block: 0, reason: error.to_string() })?;
        Ok((Self { source, block: Vec::new(), position: 0, block_index: 0, end: None }, header))
    }

    /// The next record; `None` at the end. The frames of [`Record::Frames`] are put into `batch`.
    ///
    /// # Errors
    /// [`TapeError`].
    pub fn next_record(&mut self, batch: &mut FrameBatch) -> Result<Option<Record>, TapeError> {
        while self.position >= self.block.len() {
            if self.end.is_some() || !self.next_block()? {
                return Ok(None);
            }
        }
        let rest = self.block.get(self.position..).unwrap_or_default();
        let (record, after) =
            postcard::take_from_bytes::<Record>(rest).map_err(|error| self.damaged(&error))?;
        let mut after = after;
        if let Record::Frames { frames, callers, .. } = &record {
            batch.clear();
            for (number, (stream, peer, size)) in (0..).zip(frames) {
                let Some((bytes, rest)) = after.split_at_checked(*size as usize) else {
                    return Err(self.damaged(&"frames run past the block"));
                };
                let is_of = |(first, caller): &&(u32, Caller)| caller.peer == *peer && *first <= number;
                match callers.iter().rev().find(is_of) {
                    Some((_, caller)) => batch.push_from(bytes, *stream, caller),
                    None => batch.push(bytes, *stream, *peer),
                }
                after = rest;
            }
        }
        self.position = self.block.len() - after.len();
        Ok(Some(record))
    }

    /// How the tape ended; `None` before its end was reached.
    #[must_use]
    pub const fn end(&self) -> Option<TapeEnd> {
        self.end
    }

    fn damaged(&self, reason: &dyn std::fmt::Display) -> TapeError {
        TapeError::Damaged { block: self.block_index, reason: reason.to_string() }
    }

    fn next_block(&mut self) -> Result<bool, TapeError> {
        let lengths = read_u32(&mut self.source).and_then(|raw| Ok((raw, read_u32(&mut self.source)?)));
        let (raw, stored) = match lengths {
            Ok(lengths) => lengths,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(self.cut()),
            Err(error) => return Err(error.into()),
        };
        if raw == 0 {
            self.end = Some(if stored == 0 { TapeEnd::Clean } else { TapeEnd::Truncated });
            return Ok(false);
        }
        for found in [raw, stored] {
            if found > BLOCK_SIZE_MAX {
                return Err(TapeError::BadLength {
                    block: self.block_index,
                    found,
                    accepted: BLOCK_SIZE_MAX,
                });
            }
        }
        let bytes = match read_exactly(&mut self.source, stored) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(self.cut()),
            Err(error) => return Err(error.into()),
        };
        self.block =
            lz4_flex::block::decompress(&bytes, raw as usize).map_err(|error| self.damaged(&error))?;
        self.position = 0;
        self.block_index += 1;
        Ok(true)
    }

    const fn cut(&mut self) -> bool {
        self.end = Some(TapeEnd::Cut);
        false
    }
}

fn read_u32(source: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    source.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Reads `size` bytes, growing only with what really arrives.
fn read_exactly(source: &mut impl Read, size: u32) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(u64::from(size)).read_to_end(&mut bytes)?;
    if bytes.len() < size as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Appends a record to a block.
pub(super) fn encode(block: &mut Vec<u8>, record: &Record) {
    let taken = core::mem::take(block);
    match postcard::to_extend(record, taken) {
        Ok(written) => *block = written,
        // Extending a vector cannot fail, and the messages serialise.
        Err(error) => unreachable!("a record did not serialise: {error}"),
    }
}
