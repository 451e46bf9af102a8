//! When a snapshot is due, and the thread that writes it while commits go on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::frame::{FileHeader, FileKind};
use super::recover::Resume;
use super::{Options, Shared, snapshot};
use crate::disk::Disk;

/// Where snapshots are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Snapshots {
    /// In a thread, while commits go on.
    InAThread,
    /// Before anything else goes on.
    AtOnce,
}

pub(super) struct Compaction {
    options: Options,
    snapshots: Snapshots,
    /// In logs that no snapshot replaces.
    log_bytes: u64,
    snapshot_bytes: u64,
    /// After a failure, not before the logs have grown to this.
    not_before_bytes: u64,
    running: Option<Running>,
}

struct Running {
    thread: JoinHandle<io::Result<u64>>,
    is_cancelled: Arc<AtomicBool>,
    /// What the logs held that the snapshot replaces.
    replaces_bytes: u64,
}

impl Compaction {
    pub(super) fn new(options: Options, snapshots: Snapshots, resume: Resume) -> Self {
        let Resume { log_bytes, snapshot_bytes, .. } = resume;
        Self { options, snapshots, log_bytes, snapshot_bytes, not_before_bytes: 0, running: None }
    }

    pub(super) fn log_has_grown(&mut self, bytes: u64) {
        self.log_bytes += bytes;
    }

    /// Whether to begin a snapshot now. Also takes note of one that has ended.
    pub(super) fn is_due(&mut self, shared: &Shared) -> bool {
        if self.running.as_ref().is_some_and(|running| running.thread.is_finished()) {
            self.join(shared);
        }
        let Options { compact_at_bytes, compact_at_factor, .. } = self.options;
        let limit = compact_at_bytes.max(self.snapshot_bytes.saturating_mul(compact_at_factor));
        self.running.is_none() && self.log_bytes > limit && self.log_bytes > self.not_before_bytes
    }

    /// Begins a snapshot of everything before `log`, which has just been begun and holds no group yet.
    pub(super) fn start(&mut self, disk: &Arc<dyn Disk>, shared: &Arc<Shared>, log: u64, first_group: u64) {
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let header = FileHeader { kind: FileKind::Snapshot, number: log, first_group };
        if self.snapshots == Snapshots::AtOnce {
            let written = snapshot::write(&**disk, &shared.table, header, &is_cancelled);
            return self.ended(shared, written, self.log_bytes);
        }
        let (disk, for_thread, cancelled) = (Arc::clone(disk), Arc::clone(shared), Arc::clone(&is_cancelled));
        let thread = std::thread::Builder::new()
            .name("store-snapshot".into())
            .spawn(move || snapshot::write(&*disk, &for_thread.table, header, &cancelled));
        match thread {
            Ok(thread) => {
                // The new log's own length is small and is counted as if it were replaced too.
                self.running = Some(Running { thread, is_cancelled, replaces_bytes: self.log_bytes });
            }
            Err(cause) => self.failed(shared, &cause),
        }
    }

    /// A snapshot could not be begun or written: the logs stay, and it is tried again when they have grown by half.
    pub(super) fn failed(&mut self, shared: &Shared, cause: &io::Error) {
        self.not_before_bytes = self.log_bytes + self.log_bytes / 2;
        shared.status.lock().compaction_error = Some(cause.to_string());
    }

    fn join(&mut self, shared: &Shared) {
        let Some(running) = self.running.take() else { return };
        let panicked = |_| Err(io::Error::other("the snapshot's thread panicked"));
        let written = running.thread.join().unwrap_or_else(panicked);
        self.ended(shared, written, running.replaces_bytes);
    }

    fn ended(&mut self, shared: &Shared, written: io::Result<u64>, replaces_bytes: u64) {
        match written {
            Ok(bytes) => {
                self.snapshot_bytes = bytes;
                self.log_bytes = self.log_bytes.saturating_sub(replaces_bytes);
                let mut status = shared.status.lock();
                status.compactions += 1;
                status.compaction_error = None;
            }
            Err(cause) => self.failed(shared, &cause),
        }
    }

    /// Gives up a snapshot that is being written, and waits until its thread has let go of the files.
    pub(super) fn cancel(&mut self) {
        if let Some(running) = self.running.take() {
            running.is_cancelled.store(true, Ordering::Relaxed);
            let _ = running.thread.join();
        }
    }
}
