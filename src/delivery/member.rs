//! One subscriber of a log, as the sets have it.

use std::error::Error;

use super::door::{Door, Ticket};
use super::outcome::call;
use super::selection::Selection;
use super::sequential::Sequential;
use super::set;
use crate::log::{Core, Envelope};
use crate::model::{Failure, HandlerError};
use crate::sync::{Arc, AtomicU64, Ordering};

/// A handler of an observer.
pub(crate) type ObserverHandler = Box<dyn Fn(&Envelope) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync>;

/// Before the subscription's place in the log is known.
const PENDING: u64 = u64::MAX;

pub(crate) struct Member {
    number: u64,
    consumer: Consumer,
    door: Arc<Door>,
    /// The last field: dropped after the handler.
    _ticket: Ticket,
}

pub(crate) enum Consumer {
    Observer(Observer),
    Sequential(Arc<Sequential>),
}

pub(crate) struct Observer {
    pub(crate) name: Option<Box<str>>,
    pub(crate) selection: Selection,
    pub(crate) handler: ObserverHandler,
    /// Index of the first envelope that was asked for.
    from: u64,
    /// Index of the first envelope that its appender delivers.
    start: AtomicU64,
}

impl Observer {
    pub(crate) fn new(name: Option<Box<str>>, selection: Selection, from: u64, handler: ObserverHandler) -> Self {
        Self { name, selection, handler, from, start: AtomicU64::new(PENDING) }
    }

    /// Calls the handler, when the envelope is for it. Whether it was called, or how it failed.
    pub(crate) fn deliver(&self, envelope: &Envelope) -> Result<bool, Failure> {
        if envelope.position().get() <= self.from || !self.selection.selects(envelope) {
            return Ok(false);
        }
        let fail = |error: HandlerError| Failure::new(envelope.position(), self.name.as_deref(), error);
        call(|| (self.handler)(envelope)).map(|()| true).map_err(fail)
    }
}

impl Member {
    pub(crate) fn new(number: u64, consumer: Consumer) -> (Arc<Self>, Arc<Door>) {
        let (door, ticket) = Door::new();
        (Arc::new(Self { number, consumer, door: door.clone(), _ticket: ticket }), door)
    }

    pub(crate) fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.door.is_closed()
    }

    pub(crate) fn is_left(&self) -> bool {
        self.door.is_left()
    }

    /// Index of the first envelope that is for it, when it was subscribed for what comes.
    ///
    /// Whoever looks finds it out when it is not known yet: any place where the log ended after the member entered its set
    /// will do, because every append from there on sees the member. They all have to agree on one.
    pub(crate) fn start(&self, core: &Core) -> u64 {
        match &self.consumer {
            Consumer::Observer(observer) => {
                // Acquire: pairs with the Release below.
                let start = observer.start.load(Ordering::Acquire);
                if start != PENDING {
                    return start;
                }
                let end = core.settle_watched(&core.pin());
                // Release: everybody who sees the place comes after the look at it.
                match observer.start.compare_exchange(PENDING, end, Ordering::Release, Ordering::Acquire) {
                    Ok(_) => end,
                    Err(start) => start,
                }
            }
            Consumer::Sequential(sequential) => {
                if sequential.is_pending() {
                    sequential.start(core.settle_watched(&core.pin()));
                }
                0
            }
        }
    }
}

impl set::Member for Arc<Member> {
    fn number(&self) -> u64 {
        self.number
    }
}
