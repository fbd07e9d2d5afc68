//! Writing tapes: the role's end collects records, the recorder's thread compresses and writes them.
//! Owns: [`TapeWriter`] (role's end), [`RecorderThread`]. Called by: steppers on their role's thread; topology starts
//! the thread. Does not: make a role wait. Policy when the disk cannot
//! follow or the recording reaches its bound: that tape ends there, whole, marked truncated, shown by `/health`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::tape::{BLOCK_SIZE, Header, MAGIC, Record, encode};
use crate::engine::batch::FrameBatch;
use crate::engine::time::Instant;
use crate::ring::{Full, SpscConsumer, SpscProducer, spsc};

/// Blocks on their way to the recorder: 64 MiB, half a second of recording at the highest rate measured.
const BLOCKS: usize = 64;

/// A role sends what it has recorded at least this often, so that a crash costs no more.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// How long the recorder sleeps when there is nothing to write.
const PAUSE: Duration = Duration::from_millis(5);

/// What became of a tape, shared by its two ends.
#[derive(Clone, Debug, Default)]
pub struct TapeStatus(Arc<AtomicU8>);

const RECORDING: u8 = 0;
const TRUNCATED: u8 = 1;
const FAILED: u8 = 2;

impl TapeStatus {
    /// True while everything that went in is being kept.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.0.load(Ordering::Relaxed) == RECORDING
    }

    /// For `/health`: `recording`, `truncated` or `failed`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.0.load(Ordering::Relaxed) {
            RECORDING => "recording",
            TRUNCATED => "truncated",
            _ => "failed",
        }
    }

    fn end(&self, how: u8) {
        // The first cause stays.
        let _ = self.0.compare_exchange(RECORDING, how, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A role's end of its tape.
#[derive(Debug)]
pub struct TapeWriter {
    block: Vec<u8>,
    full: SpscProducer<Vec<u8>>,
    empty: SpscConsumer<Vec<u8>>,
    status: TapeStatus,
    sent: Instant,
}

impl TapeWriter {
    /// Adds a record.
    pub fn record(&mut self, record: &Record) {
        if self.status.is_recording() {
            encode(&mut self.block, record);
        }
    }

    /// Adds the frames of a batch from `first` on. Cost: one copy of them.
    pub fn record_frames(&mut self, now: Instant, batch: &FrameBatch, first: usize) {
        if !self.status.is_recording() {
            return;
        }
        let frames = batch.frames().get(first..).unwrap_or_default();
        let index = frames.iter().map(|frame| (frame.stream, frame.peer, frame.size)).collect();
        // Who was named for an earlier frame may have sent one of these.
        let number = |named: usize| u32::try_from(named.saturating_sub(first)).unwrap_or(u32::MAX);
        let callers = batch.callers().map(|(named, caller)| (number(named), caller.clone())).collect();
        encode(&mut self.block, &Record::Frames { now, frames: index, callers });
        for frame in frames {
            self.block.extend_from_slice(batch.frame_bytes(frame));
        }
        // A cycle may take batches of every net thread: a block holds whole records, not whole cycles.
        if self.block.len() >= BLOCK_SIZE {
            self.send();
        }
    }

    /// Sends what there is if nothing was sent for a second. Called between cycles.
    pub fn flush(&mut self, now: Instant) {
        if !self.block.is_empty() && now.since(self.sent) >= FLUSH_EVERY {
            self.sent = now;
            self.send();
        }
    }

    /// Ends a cycle, and sends the block if it is large enough.
    pub fn end_cycle(&mut self, output: u64) {
        self.record(&Record::CycleEnd { output });
        if self.block.len() >= BLOCK_SIZE {
            self.send();
        }
    }

    fn send(&mut self) {
        let next = self.empty.poll().unwrap_or_default();
        let block = core::mem::replace(&mut self.block, next);
        if let Err(Full(mut block)) = self.full.offer(block) {
            self.status.end(TRUNCATED);
            block.clear();
            self.block = block;
        }
    }
}

impl Drop for TapeWriter {
    fn drop(&mut self) {
        if !self.block.is_empty() && self.status.is_recording() {
            self.send();
        }
    }
}

struct Tape {
    path: PathBuf,
    file: BufWriter<File>,
    full: SpscConsumer<Vec<u8>>,
    empty: SpscProducer<Vec<u8>>,
    status: TapeStatus,
    /// Bytes that may still be written.
    room: u64,
    is_open: bool,
    /// Something is in the file's buffer.
    is_dirty: bool,
}

/// The recorder's thread; ends when every role's end is dropped.
#[derive(Debug)]
pub struct RecorderThread(JoinHandle<()>);

impl RecorderThread {
    /// Waits until everything is written.
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the recorder's thread panicked; the recording is cut");
        }
    }
}

/// Creates a tape per header in `folder`, each of at most `size_max` bytes divided by their number, and starts the thread `rm-recorder`. Returns the roles' ends in order.
///
/// A tape holds secrets (settings, frames), so files are created readable by their owner only. Existing tapes are not
/// overwritten.
///
/// # Errors
/// The file system's, with the path in the text.
pub fn start(
    folder: &Path,
    size_max: u64,
    tapes: &[(String, Header)],
) -> io::Result<(Vec<TapeWriter>, Vec<TapeStatus>, RecorderThread)> {
    std::fs::create_dir_all(folder).map_err(|error| in_context(folder, &error))?;
    let (mut writers, mut statuses, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for (name, header) in tapes {
        let path = folder.join(format!("{name}.tape"));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = BufWriter::with_capacity(
            1 << 20,
            options.open(&path).map_err(|error| in_context(&path, &error))?,
        );
        let bytes = postcard::to_stdvec(header).map_err(io::Error::other)?;
        let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        file.write_all(MAGIC)?;
        file.write_all(&size.to_le_bytes())?;
        file.write_all(&bytes)?;
        let (full_in, full) = spsc(BLOCKS);
        let (empty, empty_out) = spsc(BLOCKS);
        let status = TapeStatus::default();
        writers.push(TapeWriter {
            block: Vec::with_capacity(2 * BLOCK_SIZE),
            full: full_in,
            empty: empty_out,
            status: status.clone(),
            sent: Instant::ZERO,
        });
        statuses.push(status.clone());
        let room = size_max / tapes.len().max(1) as u64;
        files.push(Tape { path, file, full, empty, status, room, is_open: true, is_dirty: true });
    }
    let thread = thread::Builder::new().name("rm-recorder".to_owned()).spawn(move || write(files))?;
    Ok((writers, statuses, RecorderThread(thread)))
}

fn in_context(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn write(mut tapes: Vec<Tape>) {
    while tapes.iter().any(|tape| tape.is_open) {
        let mut did_work = false;
        for tape in tapes.iter_mut().filter(|tape| tape.is_open) {
            match tape.step() {
                Ok(worked) => did_work |= worked,
                Err(error) => {
                    tape.status.end(FAILED);
                    tape.is_open = false;
                    tracing::error!(tape = %tape.path.display(), %error, "recording ended: cannot write");
                }
            }
        }
        if !did_work {
            for tape in tapes.iter_mut().filter(|tape| tape.is_open && tape.is_dirty) {
                if let Err(error) = tape.file.flush() {
                    tracing::error!(tape = %tape.path.display(), %error, "cannot write the recording");
                }
                tape.is_dirty = false;
            }
            thread::park_timeout(PAUSE);
        }
    }
}

impl Tape {
    /// Writes one block if there is one. Ends the tape when the role's end is gone and nothing is left.
    fn step(&mut self) -> io::Result<bool> {
        // Asked first: a role that ends sends its last block before it goes.
        let is_last = self.full.is_abandoned();
        if let Some(mut block) = self.full.poll() {
            let stored = lz4_flex::block::compress(&block);
            self.room = self.room.saturating_sub(stored.len() as u64);
            if self.room == 0 {
                // The bound on the recording's size: what is there stays whole.
                self.status.end(TRUNCATED);
            }
            if !self.status.is_recording() {
                block.clear();
                let _ = self.empty.offer(block);
                return Ok(true);
            }
            self.file.write_all(&u32::try_from(block.len()).map_err(io::Error::other)?.to_le_bytes())?;
            self.file.write_all(&u32::try_from(stored.len()).map_err(io::Error::other)?.to_le_bytes())?;
            self.file.write_all(&stored)?;
            self.is_dirty = true;
            block.clear();
            let _ = self.empty.offer(block);
            return Ok(true);
        }
        if is_last {
            let how = u32::from(!self.status.is_recording());
            self.file.write_all(&0_u32.to_le_bytes())?;
            self.file.write_all(&how.to_le_bytes())?;
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            self.is_open = false;
            if how != 0 {
                tracing::warn!(tape = %self.path.display(), "recording was truncated: the disk could not follow, or recorder.size_max_bytes was reached");
            }
        }
        Ok(false)
    }
}
