//! Who is connected: the list of sessions of one store. It is copied when a session is opened or forgotten, and never
//! locked: who saves adds to the counters of one session, who lists reads them all.

use thiserror::Error;

use crate::model::{InvalidName, Kind, Name, Position, Timestamp};
use crate::sync::{Arc, AtomicU64, CopyOnWrite, Ordering};

/// A session that cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The id is not a name.
    #[error("the session id is not valid: {0}")]
    InvalidId(#[from] InvalidName),
    /// It is listed already, open or ended.
    #[error("session {id:?} is listed already")]
    #[non_exhaustive]
    Exists {
        /// Which.
        id: Box<str>,
    },
    /// As many are listed as the store allows, those ended included.
    #[error("{max} sessions are listed, and no more are allowed")]
    #[non_exhaustive]
    TooMany {
        /// How many are allowed.
        max: usize,
    },
    /// The store was disposed of.
    #[error("the store is closed")]
    Closed,
}

/// A session as of about now: what was saved through it by calls that are ready is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its id.
    pub id: Box<str>,
    /// When it was opened, by the message store's clock.
    pub started: Timestamp,
    /// When it was ended; none while it is open.
    pub ended: Option<Timestamp>,
    /// Messages saved through it, those removed since included.
    pub messages: u64,
    /// Of which commands.
    pub commands: u64,
    /// Of which events.
    pub events: u64,
    /// The position of the last of them.
    pub last: Option<Position>,
    /// When the last of them was stored, by the store's clock; none when there has been none, when it has been removed, or when
    /// the store keeps no times.
    pub last_activity: Option<Timestamp>,
}

/// One session of the list.
pub(super) struct Listed {
    id: Name<'static>,
    started: Timestamp,
    /// Nanoseconds, or `OPEN`.
    ended: AtomicU64,
    commands: AtomicU64,
    events: AtomicU64,
    last: AtomicU64,
}

/// No clock says this.
const OPEN: u64 = Timestamp::MIN.as_nanos().cast_unsigned();

/// How many messages of each kind.
#[derive(Clone, Copy, Default)]
pub(super) struct Kinds {
    commands: u64,
    events: u64,
}

impl Kinds {
    pub(super) fn add(&mut self, kind: Kind) {
        match kind {
            Kind::Command => self.commands += 1,
            Kind::Event => self.events += 1,
        }
    }
}

impl Listed {
    fn new(id: Name<'static>, started: Timestamp) -> Self {
        let zero = || AtomicU64::new(0);
        Self { id, started, ended: AtomicU64::new(OPEN), commands: zero(), events: zero(), last: zero() }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn name(&self) -> Name<'_> {
        self.id.lend()
    }

    pub(super) fn is_ended(&self) -> bool {
        // Relaxed: here and below, numbers to look at; nothing is published by them.
        self.ended.load(Ordering::Relaxed) != OPEN
    }

    /// Ends it; whether it was open. An ended session is nobody's current one.
    pub(super) fn end(&self, now: Timestamp) -> bool {
        let now = now.as_nanos().max(i64::MIN + 1).cast_unsigned();
        self.ended.compare_exchange(OPEN, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Counts what was saved through it.
    pub(super) fn saved(&self, kinds: Kinds, last: Position) {
        if kinds.commands > 0 {
            self.commands.fetch_add(kinds.commands, Ordering::Relaxed);
        }
        if kinds.events > 0 {
            self.events.fetch_add(kinds.events, Ordering::Relaxed);
        }
        self.last.fetch_max(last.get(), Ordering::Relaxed);
    }

    /// What is known of it, but for the last activity.
    pub(super) fn info(&self) -> SessionInfo {
        let commands = self.commands.load(Ordering::Relaxed);
        let events = self.events.load(Ordering::Relaxed);
        let ended = self.ended.load(Ordering::Relaxed);
        let last = self.last.load(Ordering::Relaxed);
        SessionInfo {
            id: self.id().into(),
            started: self.started,
            ended: (ended != OPEN).then(|| Timestamp::from_nanos(ended.cast_signed())),
            messages: commands + events,
            commands,
            events,
            last: (last > 0).then(|| Position::new(last)),
            last_activity: None,
        }
    }
}

/// The list, in the order in which they were opened, and the one that is the store's current one.
pub(super) struct Sessions {
    list: CopyOnWrite<Vec<Arc<Listed>>>,
    current: CopyOnWrite<Arc<Listed>>,
    /// Not 0 when one was ever current: most stores never have one, and a load tells them.
    any_current: AtomicU64,
    max: usize,
}

impl Sessions {
    pub(super) fn new(max: usize) -> Self {
        Self { list: CopyOnWrite::new(), current: CopyOnWrite::new(), any_current: AtomicU64::new(0), max }
    }

    /// Adds a session to the list.
    pub(super) fn open(&self, id: &str, now: Timestamp) -> Result<Arc<Listed>, SessionError> {
        let opened = Arc::new(Listed::new(Name::new(id)?.into_owned(), now));
        let mut refusal = None;
        self.list.change(|listed| {
            let listed = listed.map_or(&[][..], Vec::as_slice);
            refusal = self.refusal(listed, id);
            if refusal.is_some() {
                return None;
            }
            let mut longer = Vec::with_capacity(listed.len() + 1);
            longer.extend_from_slice(listed);
            longer.push(opened.clone());
            Some(Some(longer))
        });
        refusal.map_or(Ok(opened), Err)
    }

    fn refusal(&self, listed: &[Arc<Listed>], id: &str) -> Option<SessionError> {
        if listed.iter().any(|session| session.id() == id) {
            return Some(SessionError::Exists { id: id.into() });
        }
        (listed.len() >= self.max).then_some(SessionError::TooMany { max: self.max })
    }

    /// Makes a session the current one, instead of the one before.
    pub(super) fn set_current(&self, session: &Arc<Listed>) {
        // Relaxed: who knows that this call returned sees it; for all others there may be none yet.
        self.any_current.store(1, Ordering::Relaxed);
        self.current.change(|_| Some(Some(session.clone())));
    }

    /// The current session; none when there is none, or when it was ended.
    #[inline]
    pub(super) fn current(&self) -> Option<Arc<Listed>> {
        // Relaxed: see `set_current`.
        if self.any_current.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.current.load().get().filter(|session| !session.is_ended()).cloned()
    }

    /// Takes an ended session off the list; whether it was there.
    pub(super) fn forget(&self, id: &str) -> bool {
        self.list.change(|listed| {
            let listed = listed?;
            let at = listed.iter().position(|session| session.id() == id && session.is_ended())?;
            let mut shorter = listed.clone();
            shorter.remove(at);
            Some(Some(shorter))
        })
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Listed>> {
        self.list.load().get()?.iter().find(|session| session.id() == id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Listed>> {
        self.list.load().get().cloned().unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.list.load().get().map_or(0, Vec::len)
    }
}
