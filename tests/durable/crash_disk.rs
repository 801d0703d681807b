//! A disk in memory that may lose power at any moment, and may fail.
//!
//! Every operation is written down in one sequence, with what the test was told in between ([`Mark`]). From any beginning of
//! the sequence a [`Model`] of page cache and disk is built, and from that, in `crash_images`, what a power cut may leave.
//!
//! The disk is honest: what was synced stays, whatever happens to the bytes beside it. (A disk that destroys other bytes of a
//! sector that it is writing when power fails is not modelled: no log that writes behind what it has synced survives it.)

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use annals::durable::{Storage, StoredFile};

pub type Image = BTreeMap<String, Arc<[u8]>>;

/// Pseudo-random numbers, the same for the same seed.
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).expect("less than `end`")
    }
}

/// What a test notes between operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The log has said that the disk has everything up to this position.
    Safe(u64),
    /// What comes before this position may be removed from now on.
    Truncate(u64),
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Op {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
    SyncNames,
    Write(usize, u64, Arc<[u8]>),
    SetLen(usize, u64),
    Sync(usize),
    SyncAll(usize),
    /// A sync failed, and what it should have written never will be.
    Forget(usize),
    Mark(Mark),
}

/// A change of a file that the disk may not have.
#[derive(Clone, Debug)]
pub enum Change {
    Write(u64, Arc<[u8]>),
    SetLen(u64),
}

impl Change {
    pub fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => {
                let at = index(*offset);
                to.resize(to.len().max(at + bytes.len()), 0);
                to[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::SetLen(len) => to.resize(index(*len), 0),
        }
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("test files are small")
}

/// A change of the directory that the disk may not have.
#[derive(Clone, Debug)]
pub enum Named {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl Named {
    pub fn apply(&self, to: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, node) => drop(to.insert(name.clone(), *node)),
            Self::Remove(name) => drop(to.remove(name)),
            Self::Rename(from, into) => {
                if let Some(node) = to.remove(from) {
                    to.insert(into.clone(), node);
                }
            }
        }
    }
}

/// A file: what the system shows, what the disk has, and the changes between the two with their place in the sequence.
#[derive(Clone, Default)]
pub struct Node {
    pub cache: Vec<u8>,
    pub safe: Vec<u8>,
    pub pending: Vec<(u64, Change)>,
}

impl Node {
    fn change(&mut self, at: u64, change: Change) {
        change.apply(&mut self.cache);
        self.pending.push((at, change));
    }

    /// The disk gets everything; but for `fdatasync`, which need not make a file shorter.
    fn sync(&mut self, at: u64, all: bool) {
        let mut tail = Vec::new();
        for (_, change) in self.pending.drain(..) {
            let before = self.safe.clone();
            change.apply(&mut self.safe);
            tail = match change {
                Change::SetLen(_) => before.get(self.safe.len()..).unwrap_or_default().to_vec(),
                Change::Write(..) if self.safe.len() == before.len() => tail,
                Change::Write(..) => Vec::new(),
            };
        }
        if !all && !tail.is_empty() {
            self.pending.push((at, Change::SetLen(self.safe.len() as u64)));
            self.safe.extend(tail);
        }
    }
}

/// Page cache and disk.
#[derive(Clone, Default)]
pub struct Model {
    pub nodes: Vec<Node>,
    pub names: BTreeMap<String, usize>,
    pub safe_names: BTreeMap<String, usize>,
    pub pending: Vec<(u64, Named)>,
    at: u64,
}

impl Model {
    pub fn of(image: &Image) -> Self {
        let mut model = Self::default();
        for (name, bytes) in image {
            model.names.insert(name.clone(), model.nodes.len());
            model.nodes.push(Node { cache: bytes.to_vec(), safe: bytes.to_vec(), pending: Vec::new() });
        }
        model.safe_names = model.names.clone();
        model
    }

    pub fn apply(&mut self, op: &Op) {
        self.at += 1;
        let at = self.at;
        match op {
            Op::Create(name, node) => {
                self.nodes.resize_with(self.nodes.len().max(node + 1), Node::default);
                self.name(Named::Create(name.clone(), *node));
            }
            Op::Rename(from, to) => self.name(Named::Rename(from.clone(), to.clone())),
            Op::Remove(name) => self.name(Named::Remove(name.clone())),
            Op::SyncNames => {
                self.safe_names = self.names.clone();
                self.pending.clear();
            }
            Op::Write(node, offset, bytes) => self.nodes[*node].change(at, Change::Write(*offset, bytes.clone())),
            Op::SetLen(node, len) => self.nodes[*node].change(at, Change::SetLen(*len)),
            Op::Sync(node) => self.nodes[*node].sync(at, false),
            Op::SyncAll(node) => self.nodes[*node].sync(at, true),
            Op::Forget(node) => self.nodes[*node].pending.clear(),
            Op::Mark(_) => {}
        }
    }

    fn name(&mut self, change: Named) {
        change.apply(&mut self.names);
        self.pending.push((self.at, change));
    }

    /// What the disk has for certain.
    pub fn safe(&self) -> Image {
        self.image(&self.safe_names, |node| node.safe.clone())
    }

    /// What the system shows.
    pub fn shown(&self) -> Image {
        self.image(&self.names, |node| node.cache.clone())
    }

    pub fn image(&self, names: &BTreeMap<String, usize>, mut of: impl FnMut(&Node) -> Vec<u8>) -> Image {
        names.iter().map(|(name, node)| (name.clone(), of(&self.nodes[*node]).into())).collect()
    }
}

/// Kinds of operations that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Create,
    Rename,
    Write,
    SetLen,
    /// Of a file's content, with or without its length.
    Sync,
    SyncNames,
    Remove,
    Read,
    Open,
}

/// An operation that is to fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Of any kind, when there is none. (But reads.)
    pub kind: Option<Kind>,
    /// How many of them succeed first, counted from now.
    pub after: usize,
    pub error: io::ErrorKind,
    /// Not once, but from then on.
    pub forever: bool,
    /// How much of a write is done before it fails.
    pub done: usize,
    /// What a sync should have written is lost, whatever later syncs say.
    pub forget: bool,
}

impl Fault {
    pub fn nth(kind: impl Into<Option<Kind>>, after: usize) -> Self {
        Self { kind: kind.into(), after, error: io::ErrorKind::Other, forever: false, done: 0, forget: false }
    }
}

/// What the disk says that it does, and does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lies {
    pub content: bool,
    pub names: bool,
}

/// The disk. Cloned, it is the same.
#[derive(Clone)]
pub struct CrashDisk(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    lies: Lies,
    holder: Arc<Mutex<Option<String>>>,
}

struct State {
    model: Model,
    start: Model,
    history: Vec<Op>,
    /// Whether a history is wanted.
    recording: bool,
    faults: Vec<Fault>,
    failed: usize,
}

impl CrashDisk {
    pub fn new() -> Self {
        Self::with(Model::default(), Lies::default(), true)
    }

    pub fn lying(lies: Lies) -> Self {
        Self::with(Model::default(), lies, true)
    }

    /// A disk after a power cut. Writes no history.
    pub fn of(image: &Image) -> Self {
        Self::with(Model::of(image), Lies::default(), false)
    }

    /// A machine whose process was killed, or, when the model has nothing pending, whose power was cut.
    pub fn after(model: Model) -> Self {
        Self::with(model, Lies::default(), true)
    }

    fn with(model: Model, lies: Lies, recording: bool) -> Self {
        let start = if recording { model.clone() } else { Model::default() };
        let state = State { model, start, history: Vec::new(), recording, faults: Vec::new(), failed: 0 };
        Self(Arc::new(Shared { state: Mutex::new(state), lies, holder: Arc::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no test panics with it")
    }

    pub fn mark(&self, mark: Mark) {
        self.state().act(Op::Mark(mark));
    }

    /// Lets an operation fail.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// No operation fails any more.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// How many operations have failed.
    pub fn failed(&self) -> usize {
        self.state().failed
    }

    /// How the disk was at first, and what happened since.
    pub fn history(&self) -> (Model, Vec<Op>) {
        let state = self.state();
        assert!(state.recording, "this disk writes no history");
        (state.start.clone(), state.history.clone())
    }

    pub fn model(&self) -> Model {
        self.state().model.clone()
    }

    fn file(&self, node: usize) -> Box<dyn StoredFile> {
        Box::new(CrashFile { disk: self.clone(), node })
    }
}

impl State {
    fn act(&mut self, op: Op) {
        self.model.apply(&op);
        if self.recording {
            self.history.push(op);
        }
    }

    /// Whether an operation is to fail.
    fn fault(&mut self, kind: Kind) -> Option<Fault> {
        let concerned = |fault: &Fault| fault.kind.map_or(kind != Kind::Read, |wanted| wanted == kind);
        let mut due = None;
        self.faults.retain_mut(|fault| {
            if !concerned(fault) {
                return true;
            }
            if fault.after > 0 {
                fault.after -= 1;
                return true;
            }
            due.get_or_insert(*fault);
            fault.forever
        });
        self.failed += usize::from(due.is_some());
        due
    }

    fn attempt(&mut self, kind: Kind) -> io::Result<()> {
        self.fault(kind).map_or(Ok(()), |fault| Err(fault.error.into()))
    }
}

impl Storage for CrashDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state().model.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let mut state = self.state();
        state.attempt(Kind::Open)?;
        let node = *state.model.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(node))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StoredFile>> {
        let mut state = self.state();
        state.attempt(Kind::Create)?;
        if state.model.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = state.model.nodes.len();
        state.act(Op::Create(name.into(), node));
        Ok(self.file(node))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.attempt(Kind::Rename)?;
        if !state.model.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.act(Op::Rename(from.into(), to.into()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.attempt(Kind::Remove)?;
        if !state.model.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.act(Op::Remove(name.into()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.attempt(Kind::SyncNames)?;
        if !self.0.lies.names {
            state.act(Op::SyncNames);
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<Result<Box<dyn Send + Sync>, String>> {
        let mut holder = self.0.holder.lock().expect("no test panics with it");
        if let Some(holder) = &*holder {
            return Ok(Err(holder.clone()));
        }
        *holder = Some(format!("thread {:?}", std::thread::current().id()));
        Ok(Ok(Box::new(Held(self.0.holder.clone()))))
    }

    fn name(&self) -> String {
        "a disk in memory".into()
    }
}

struct Held(Arc<Mutex<Option<String>>>);

impl Drop for Held {
    fn drop(&mut self) {
        *self.0.lock().expect("no test panics with it") = None;
    }
}

struct CrashFile {
    disk: CrashDisk,
    node: usize,
}

impl CrashFile {
    fn sync_with(&self, op: Op) -> io::Result<()> {
        let mut state = self.disk.state();
        if let Some(fault) = state.fault(Kind::Sync) {
            if fault.forget {
                state.act(Op::Forget(self.node));
            }
            return Err(fault.error.into());
        }
        if !self.disk.0.lies.content {
            state.act(op);
        }
        Ok(())
    }
}

impl StoredFile for CrashFile {
    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.attempt(Kind::Read)?;
        let there = state.model.nodes[self.node].cache.get(index(offset)..).unwrap_or_default();
        let read = there.len().min(to.len());
        to[..read].copy_from_slice(&there[..read]);
        Ok(read)
    }

    fn write(&self, from: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.fault(Kind::Write);
        let done = fault.map_or(from.len(), |fault| fault.done.min(from.len()));
        if done > 0 {
            state.act(Op::Write(self.node, offset, from[..done].into()));
        }
        fault.map_or(Ok(()), |fault| Err(fault.error.into()))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().model.nodes[self.node].cache.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.attempt(Kind::SetLen)?;
        state.act(Op::SetLen(self.node, len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_with(Op::Sync(self.node))
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_with(Op::SyncAll(self.node))
    }
}

/// `fdatasync` keeps what was written and the length to read it, not that a file became shorter; `fsync` keeps that, too.
#[test]
fn a_sync_of_data_need_not_make_a_file_shorter() {
    let disk = CrashDisk::new();
    let file = disk.create("a").unwrap();
    Storage::sync(&disk).unwrap();
    file.write(b"0123456789", 0).unwrap();
    assert_eq!(disk.model().safe()["a"].len(), 0, "nothing was synced");
    file.sync().unwrap();
    file.set_len(4).unwrap();
    file.write(b"x", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(&*disk.model().safe()["a"], b"x123456789");
    assert_eq!(&*disk.model().shown()["a"], b"x123");
    file.sync_all().unwrap();
    assert_eq!(&*disk.model().safe()["a"], b"x123");
}

/// A file whose directory was not synced is not there after a power cut, synced or not; a sync that failed loses its pages.
#[test]
fn what_was_not_synced_may_be_lost() {
    let disk = CrashDisk::new();
    let file = disk.create("a").unwrap();
    file.write(b"0123", 0).unwrap();
    file.sync_all().unwrap();
    assert!(disk.model().safe().is_empty());
    Storage::sync(&disk).unwrap();
    assert_eq!(&*disk.model().safe()["a"], b"0123");
    file.write(b"ab", 1).unwrap();
    disk.fail(Fault { forget: true, ..Fault::nth(Kind::Sync, 0) });
    assert_eq!(file.sync().unwrap_err().kind(), io::ErrorKind::Other);
    file.sync().unwrap();
    assert_eq!((&*disk.model().safe()["a"], &*disk.model().shown()["a"]), (&b"0123"[..], &b"0ab3"[..]));
}
