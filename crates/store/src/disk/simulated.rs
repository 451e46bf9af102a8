//! A disk in memory that fails on request, the way disks do.
//!
//! What is written is seen by readers at once and is durable after a sync. [`SimulatedDisk::lose_power`] keeps of
//! everything not yet synced what a real disk might: any subset of the written sectors of any file, any length
//! between the old and the new, and the first few or any few of the changed names. After a sync that failed, the lost sectors
//! look written until the power goes, as they do on Linux.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, LockError, ReadFile, WriteFile};
use crate::random::Random;

/// What reaches a disk whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What is to go wrong, counted in operations that change something (writes, syncs, names) from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation with this number, and all after it, fail: the machine has stopped. Half of the bytes of a
    /// write may still have been taken.
    Stop(u64),
    /// The operation with this number fails once, with an input/output error.
    Once(u64),
    /// Every sync fails until told otherwise.
    Sync,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: Random,
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes to `durable_names` that a directory sync would make, in order.
    changed_names: Vec<NameChange>,
    capacity_bytes: u64,
    fault: Option<Fault>,
    operations: u64,
    is_locked: bool,
    writes_short: bool,
}

#[derive(Debug, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    /// Unsynced writes, in order.
    writes: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

impl SimulatedDisk {
    /// An empty disk with room for everything, whose accidents follow from the seed.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: Random::new(seed),
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changed_names: Vec::new(),
            capacity_bytes: u64::MAX,
            fault: None,
            operations: 0,
            is_locked: false,
            writes_short: false,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on: this fault, or none.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.state();
        state.operations = 0;
        state.fault = fault;
    }

    /// Operations that changed something since the fault was last set.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The disk is full beyond this many bytes in all files.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.state().capacity_bytes = capacity_bytes;
    }

    /// Bytes in all files that have a name.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// Whether writes take only a part of what they are given, now and then.
    pub fn set_short_writes(&self, writes_short: bool) {
        self.state().writes_short = writes_short;
    }

    /// The power goes and comes back: another disk, holding what was durable and a random part of what was not.
    /// Whoever still uses this one gets errors.
    pub fn lose_power(&self) -> Self {
        let mut state = self.state();
        state.fault = Some(Fault::Stop(0));
        let seed = state.random.next_u64();
        let State { random, files, durable_names, changed_names, capacity_bytes, .. } = &mut *state;
        let mut names = durable_names.clone();
        let kept_names = random.below(changed_names.len() as u64 + 1) as usize;
        let is_in_order = random.below(2) == 0;
        for (place, change) in changed_names.iter().enumerate() {
            if if is_in_order { place < kept_names } else { random.below(2) == 0 } {
                change.apply(&mut names);
            }
        }
        let survived = Self::new(seed);
        let mut new = survived.state();
        new.capacity_bytes = *capacity_bytes;
        for (name, inode) in names {
            let content = files[inode].after_power_loss(random);
            new.add(name.clone(), content);
        }
        drop(new);
        survived
    }

    /// The process dies and the machine does not: everything written is still there. Whoever still uses this disk
    /// gets errors.
    pub fn kill(&self) -> Self {
        let mut state = self.state();
        state.fault = Some(Fault::Stop(0));
        let survived = Self::new(state.random.next_u64());
        let mut new = survived.state();
        new.capacity_bytes = state.capacity_bytes;
        for (name, inode) in &state.names {
            let content = state.files[*inode].content.clone();
            new.add(name.clone(), content);
        }
        drop(new);
        survived
    }

    /// A file's bytes, durable or not.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        Some(state.files[*state.names.get(name)?].content.clone())
    }

    /// Puts a file there, durably; `None` takes it away.
    pub fn replace(&self, name: &str, content: Option<Vec<u8>>) {
        let mut state = self.state();
        match content {
            Some(content) => state.add(name.into(), content),
            None => {
                state.names.remove(name);
                state.durable_names.remove(name);
            }
        }
    }
}

impl State {
    fn used_bytes(&self) -> u64 {
        self.names.values().map(|inode| self.files[*inode].content.len() as u64).sum()
    }

    fn add(&mut self, name: String, content: Vec<u8>) {
        let inode = self.files.len();
        self.files.push(Inode { durable: content.clone(), content, writes: Vec::new() });
        self.names.insert(name.clone(), inode);
        self.durable_names.insert(name, inode);
    }

    /// Counts an operation and says whether it may go on.
    fn operate(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        match self.fault {
            Some(Fault::Stop(at)) if number >= at => Err(io::Error::other("the machine has stopped")),
            Some(Fault::Once(at)) if number == at => Err(io::Error::other("input/output error")),
            _ => Ok(()),
        }
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.content, offset, bytes);
        self.writes.push((offset, bytes.to_vec()));
    }

    fn sync(&mut self) {
        for (offset, bytes) in self.writes.drain(..) {
            put(&mut self.durable, offset, &bytes);
        }
    }

    fn after_power_loss(&self, random: &mut Random) -> Vec<u8> {
        let mut content = self.durable.clone();
        // Often all or nothing: those are the likely ones, and both must be tried.
        let mood = random.below(4);
        for (offset, bytes) in &self.writes {
            let mut from = 0;
            while from < bytes.len() {
                let to = bytes.len().min(from + SECTOR_BYTES - (offset + from) % SECTOR_BYTES);
                if mood == 0 || (mood != 1 && random.below(2) == 0) {
                    put(&mut content, offset + from, &bytes[from..to]);
                }
                from = to;
            }
        }
        if content.len() < self.content.len() && random.below(2) == 0 {
            let grown = random.below((self.content.len() - content.len()) as u64 + 1) as usize;
            content.resize(content.len() + grown, 0);
        }
        content
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set(name, inode) => drop(names.insert(name.clone(), *inode)),
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Remove(name) => drop(names.remove(name)),
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

struct Lock(SimulatedDisk);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.state().is_locked = false;
    }
}

impl Disk for SimulatedDisk {
    fn describe(&self, name: &str) -> String {
        name.into()
    }

    fn lock(&self) -> Result<Box<dyn Send + Sync>, LockError> {
        let mut state = self.state();
        if std::mem::replace(&mut state.is_locked, true) {
            return Err(LockError::Held("another store is using it".into()));
        }
        Ok(Box::new(Lock(self.clone())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn ReadFile>> {
        let inode = self.state().inode(name)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), inode }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn WriteFile>> {
        let mut state = self.state();
        state.operate()?;
        let inode = state.files.len();
        state.files.push(Inode::default());
        state.names.insert(name.into(), inode);
        state.changed_names.push(NameChange::Set(name.into(), inode));
        Ok(Box::new(SimulatedFile { disk: self.clone(), inode }))
    }

    fn reopen(&self, name: &str) -> io::Result<Box<dyn WriteFile>> {
        let inode = self.state().inode(name)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        let inode = state.inode(from)?;
        state.names.remove(from);
        state.names.insert(to.into(), inode);
        state.changed_names.push(NameChange::Rename(from.into(), to.into(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.inode(name)?;
        state.names.remove(name);
        state.changed_names.push(NameChange::Remove(name.into()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        if state.fault == Some(Fault::Sync) {
            return Err(io::Error::other("input/output error"));
        }
        state.durable_names = state.names.clone();
        state.changed_names.clear();
        Ok(())
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
}

impl ReadFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.inode].content.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        let content = &state.files[self.inode].content;
        let from = content.len().min(offset as usize);
        let length = buffer.len().min(content.len() - from);
        buffer[..length].copy_from_slice(&content[from..from + length]);
        Ok(length)
    }
}

impl WriteFile for SimulatedFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        let offset = offset as usize;
        if let Err(error) = state.operate() {
            // Some of it may have reached the file all the same.
            let first_failure = matches!(state.fault, Some(Fault::Stop(at)) if state.operations == at + 1);
            if first_failure || matches!(state.fault, Some(Fault::Once(_))) {
                let taken = state.random.below(bytes.len() as u64 + 1) as usize;
                state.files[self.inode].write(offset, &bytes[..taken]);
            }
            return Err(error);
        }
        let mut taken = bytes.len();
        if state.writes_short && state.random.below(3) == 0 {
            taken = 1 + state.random.below(taken as u64) as usize;
        }
        let length = state.files[self.inode].content.len();
        let grows_by = (offset + taken).saturating_sub(length) as u64;
        let room = state.capacity_bytes.saturating_sub(state.used_bytes());
        taken -= grows_by.saturating_sub(room).min(taken as u64) as usize;
        if taken == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.files[self.inode].write(offset, &bytes[..taken]);
        Ok(taken)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        let outcome = state.operate();
        let fails = outcome.is_err() || state.fault == Some(Fault::Sync);
        if !fails {
            state.files[self.inode].sync();
            return Ok(());
        }
        // The kernel reports the failure once and takes the pages for clean: a later sync says Ok and writes nothing.
        let State { files, random, .. } = &mut *state;
        let inode = &mut files[self.inode];
        inode.durable = inode.after_power_loss(random);
        inode.writes.clear();
        outcome.and(Err(io::Error::other("input/output error")))
    }
}
