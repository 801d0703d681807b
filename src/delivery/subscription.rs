//! What a subscriber holds.

use std::fmt;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::deliver::Delivery;
use super::door::Door;
use super::keyed::Topic;
use super::member::{Consumer, Member};
use super::sequential::Sequential;
use super::set::{Left, Member as _};
use super::telemetry;
use crate::log::{Interest, Log, Stream};
use crate::model::Position;
use crate::sync::{Arc, AtomicU32, Ordering, turn};

/// A subscription: dropping it ends it.
///
/// Dropping does not wait: deliveries that have begun go on, and may still call the handler. [`close`](Self::close) waits.
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    log: Log,
    number: u64,
    place: Place,
    door: Arc<Door>,
    sequential: Option<Arc<Sequential>>,
    left: AtomicU32,
}

/// Where its member is.
pub(crate) enum Place {
    Log,
    Stream(Stream, Arc<Topic<Arc<Member>>>),
}

/// A subscription that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// Another subscription of the log has the name.
    #[error("there is a subscription named {name:?} already")]
    #[non_exhaustive]
    NameTaken {
        /// Which.
        name: Box<str>,
    },
    /// The log was closed, and nothing of its past was asked for.
    #[error("the log is closed")]
    Closed,
}

/// A subscription that has not passed a position.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WaitError {
    /// There is no such subscription.
    #[error("there is no subscription named {name:?}")]
    #[non_exhaustive]
    Unknown {
        /// Its name.
        name: Box<str>,
    },
    /// The time is over.
    #[error("the subscription is at position {at} after the time given")]
    #[non_exhaustive]
    TimedOut {
        /// How far it is.
        at: Position,
    },
    /// It is parked, stopped or closed, or the log is, and it goes no further.
    #[error("the subscription does not go on from position {at}")]
    #[non_exhaustive]
    Ended {
        /// How far it is.
        at: Position,
    },
    /// Asked inside a handler, where nobody may wait for a delivery.
    #[error("a handler may not wait for a delivery")]
    InsideHandler,
}

impl Subscription {
    pub(crate) fn new(
        log: Log,
        number: u64,
        place: Place,
        door: Arc<Door>,
        sequential: Option<Arc<Sequential>>,
    ) -> Self {
        let made = Self { log, number, place, door, sequential, left: AtomicU32::new(0) };
        telemetry::subscribed(number, made.name(), true);
        made
    }

    /// Its name, when it is sequential and has one.
    pub fn name(&self) -> Option<&str> {
        self.sequential.as_ref().and_then(|sequential| sequential.name())
    }

    /// Ends it, and waits until its handler is not running: after this has returned it will not be called again, and has
    /// been dropped. Idempotent. Blocks for as long as the handler takes that runs now, and for the deliveries that have
    /// begun; not inside a handler, this one or another: there it returns at once, and no call of the handler begins any more.
    pub fn close(&self) {
        self.door.close();
        if let Some(sequential) = &self.sequential {
            sequential.stop();
        }
        self.leave();
        self.door.wait_until_gone();
        if self.door.is_gone()
            && let Some(sequential) = &self.sequential
        {
            sequential.drop_handler();
        }
    }

    /// Lets it live as long as the log. A handler that holds the log, too, is then never freed.
    pub fn detach(self) {
        // Relaxed: this is the only handle.
        self.left.store(1, Ordering::Relaxed);
    }

    /// The position of the last envelope that it has passed, delivered or not selected. Of an observer: none.
    pub fn position(&self) -> Option<Position> {
        self.sequential.as_ref().map(|sequential| sequential.position())
    }

    /// Waits until it has passed a position: read your writes. Of a subscription to one stream: a position of the stream, or
    /// one before the end of the log. Blocks for `timeout` at most.
    ///
    /// # Errors
    /// [`WaitError`]. Of an observer: [`WaitError::Ended`], it has no position.
    pub fn wait_for(&self, position: impl Into<Position>, timeout: Duration) -> Result<(), WaitError> {
        match &self.sequential {
            Some(sequential) => wait_for(&self.log, sequential, position.into(), timeout),
            None => Err(WaitError::Ended { at: Position::NONE }),
        }
    }

    /// Whether it is parked, because its handler failed and [`OnFailure::Park`](super::OnFailure::Park) was asked for.
    pub fn is_parked(&self) -> bool {
        self.sequential.as_ref().is_some_and(|sequential| sequential.is_parked())
    }

    /// Goes on where it was parked, with the envelope that failed, up to the end of the log: on this thread, or after the
    /// handler at hand.
    pub fn resume(&self) {
        self.go_on(Sequential::resume);
    }

    /// Goes on where it was parked, after the envelope that failed; as [`resume`](Self::resume).
    pub fn skip(&self) {
        self.go_on(Sequential::skip);
    }

    fn go_on(&self, how: impl FnOnce(&Sequential)) {
        let Some(member) = self.member() else { return };
        let Consumer::Sequential(sequential) = member.consumer() else { return };
        how(sequential);
        // Who appends after this end sees that it goes on.
        let core = self.log.core();
        let end = core.settle_watched(&core.pin());
        Delivery::catch_up(&self.log, &member, Position::new(end));
    }

    /// Its member, unless it was unsubscribed: whoever has it keeps the door from opening.
    fn member(&self) -> Option<Arc<Member>> {
        let set = match &self.place {
            Place::Log => &Delivery::of(&self.log).all,
            Place::Stream(_, topic) => &topic.set,
        };
        set.load().get()?.members.iter().find(|member| member.number() == self.number).cloned()
    }

    fn leave(&self) {
        // Relaxed: whoever comes first leaves.
        if self.left.swap(1, Ordering::Relaxed) != 0 {
            return;
        }
        self.door.leave();
        telemetry::subscribed(self.number, self.name(), false);
        let delivery = Delivery::of(&self.log);
        let interest = &self.log.core().interest;
        match &self.place {
            Place::Log => {
                if delivery.all.leave(self.number, false) != Left::Absent {
                    interest.remove(Interest::ONE);
                }
            }
            Place::Stream(stream, topic) => {
                let left = topic.set.leave(self.number, true);
                if left == Left::Retired {
                    delivery.streams.remove(topic);
                }
                if left != Left::Absent {
                    stream.interest().remove(Interest::ONE);
                    interest.remove(Interest::STREAM);
                }
            }
        }
        if let Some(sequential) = &self.sequential {
            let core = self.log.core();
            sequential.end_at(core.settle(&core.pin()).end);
            delivery.forget_name(sequential);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("number", &self.number).field("position", &self.position()).finish()
    }
}

pub(crate) fn wait_for(
    log: &Log,
    sequential: &Arc<Sequential>,
    position: Position,
    timeout: Duration,
) -> Result<(), WaitError> {
    if turn::is_taken() {
        return Err(WaitError::InsideHandler);
    }
    if sequential.wait(log, position.get(), Instant::now().checked_add(timeout)) {
        return Ok(());
    }
    let at = sequential.position();
    let goes_on = sequential.is_active() && !log.is_closed();
    Err(if goes_on { WaitError::TimedOut { at } } else { WaitError::Ended { at } })
}
