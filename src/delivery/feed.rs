//! What a subscriber wants: of the log or of a stream, which envelopes, and from where on.

use std::fmt;
use std::time::Duration;

use super::deliver::{Delivery, FailureHook};
use super::follower::Follower;
use super::member::{Consumer, Member, Observer};
use super::outcome::Outcome;
use super::selection::Selection;
use super::sequential::{OnFailure, Sequential};
use super::set::Member as _;
use super::subscription::{Place, SubscribeError, Subscription, WaitError, wait_for};
use crate::log::{Ack, Backing, Envelope, Interest, Log, Stream, View};
use crate::model::{Failure, HandlerError, Position, Query};
use crate::sync::{Arc, turn};

/// How far behind a sequential subscription may be when it begins to take part: what appenders may have to wait for.
const NEAR: u64 = 256;
/// How often it tries to get that near by itself.
const ROUNDS: u32 = 32;

/// A part of a log, of its future or of its past, too, and how to be told of it.
///
/// Without any setting: every envelope that takes effect from now on.
///
/// ```
/// use annals::{Log, Message, Query};
///
/// let log = Log::new();
/// log.append("account-1", Message::event("Opened", "")?)?;
/// let accounts = log.feed().matching(Query::category("account")?).from_beginning();
/// let opened = accounts.observe(|envelope: &annals::Envelope| println!("{}", envelope.name()))?;
/// log.append("account-2", Message::event("Opened", "")?)?;
/// opened.close();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a feed does nothing until somebody is subscribed to it"]
pub struct Feed {
    log: Log,
    stream: Option<Stream>,
    selection: Selection,
    start: Start,
    name: Option<Box<str>>,
    on_failure: OnFailure,
    ack: Option<Ack>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Now,
    Beginning,
    After(Position),
}

impl Feed {
    fn new(log: Log, stream: Option<Stream>) -> Self {
        Self {
            log,
            stream,
            selection: Selection::default(),
            start: Start::Now,
            name: None,
            on_failure: OnFailure::default(),
            ack: None,
        }
    }

    /// Only envelopes that match.
    pub fn matching(mut self, query: Query) -> Self {
        self.selection.query = Some(query);
        self
    }

    /// Only envelopes that a filter lets through. It is called for every envelope that the rest selects, by the threads that
    /// deliver. When it panics, the envelope is not selected.
    pub fn filter(mut self, filter: impl Fn(&Envelope) -> bool + Send + Sync + 'static) -> Self {
        self.selection.filter = Some(Box::new(filter));
        self
    }

    /// From the first envelope that is there.
    pub fn from_beginning(mut self) -> Self {
        self.start = Start::Beginning;
        self
    }

    /// From the first envelope after a position: where one left off.
    pub fn after(mut self, position: impl Into<Position>) -> Self {
        self.start = Start::After(position.into());
        self
    }

    /// Gives the subscription a name: failures and metrics tell it, and one can [wait](Log::wait_for) for it.
    pub fn named(mut self, name: impl Into<Box<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What a sequential subscription does when its handler fails. Without this it goes on.
    pub fn on_failure(mut self, policy: OnFailure) -> Self {
        self.on_failure = policy;
        self
    }

    /// Only envelopes that are at least so safe, in a log that is kept on disk: a follower waits until they are, and an append
    /// that waits for its delivery to a sequential subscription waits for that before.
    ///
    /// Without this, a sequential subscription gets what is as safe as appends of the log wait for, whatever a single one
    /// waits for; so that nobody acts on what may be lost. Followers see everything, and observers always do.
    pub fn at_least(mut self, ack: Ack) -> Self {
        self.ack = Some(ack);
        self
    }

    /// Subscribes an observer: called by each appending thread for the envelopes that it appended, before `append` returns;
    /// by several threads at once when several append, in no order among them. The past, if it was asked for, is delivered by
    /// this call, before it returns; what is appended meanwhile may come in between.
    ///
    /// # Errors
    /// [`SubscribeError::Closed`], when the log is closed and nothing of the past was asked for.
    pub fn observe<O: Outcome>(
        self,
        handler: impl Fn(&Envelope) -> O + Send + Sync + 'static,
    ) -> Result<Subscription, SubscribeError> {
        let handler = Box::new(move |envelope: &Envelope| handler(envelope).into_result());
        let delivery = Delivery::of(&self.log);
        let from = first_index(&self.log, self.start);
        let observer = Observer::new(self.name, self.selection, from.unwrap_or(0), handler);
        let (member, door) = Member::new(delivery.number(), Consumer::Observer(observer));
        let place = enter(&self.log, self.stream.as_ref(), &member);
        let subscription = Subscription::new(self.log.clone(), member.number(), place, door, None);
        let start = member.start(self.log.core());
        match from {
            None if self.log.is_closed() => return Err(SubscribeError::Closed),
            None => {}
            Some(from) => deliver_past(&self.log, self.stream.as_ref(), &member, from..start),
        }
        Ok(subscription)
    }

    /// Subscribes a handler that gets every envelope once, in the order of the log, never two at a time: law L10. It is called
    /// by appending threads: each sees to it that its own envelopes are delivered before `append` returns, and delivers on the
    /// way what others appended before, or waits for who is delivering. The past, if it was asked for, is delivered by this
    /// call, before it returns, and with it what is appended meanwhile; called inside a handler, after the handlers at hand.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn subscribe<O: Outcome>(
        self,
        mut handler: impl FnMut(&Envelope) -> O + Send + 'static,
    ) -> Result<Subscription, SubscribeError> {
        let handler = Box::new(move |envelope: &Envelope| handler(envelope).into_result());
        let Self { log, stream, selection, start, name, on_failure, ack } = self;
        let ack = ack.or_else(|| log.core().backing().map(Backing::default_ack)).unwrap_or(Ack::Memory);
        let delivery = Delivery::of(&log);
        let from = first_index(&log, start);
        if from.is_none() && log.is_closed() {
            return Err(SubscribeError::Closed);
        }
        let sequential = Arc::new(Sequential::new(
            name,
            stream.as_ref().map(|stream| stream.id().into()),
            selection,
            on_failure,
            ack,
            from,
            handler,
        ));
        delivery.take_name(&sequential)?;
        if from.is_some() && !turn::is_taken() {
            come_near(&log, &sequential);
        }
        let (member, door) = Member::new(delivery.number(), Consumer::Sequential(sequential.clone()));
        let place = enter(&log, stream.as_ref(), &member);
        let subscription = Subscription::new(log.clone(), member.number(), place, door, Some(sequential.clone()));
        // From here on everybody who appends sees the member.
        let end = log.core().settle_watched(&log.core().pin());
        sequential.start(end);
        Delivery::catch_up(&log, &member, Position::new(end));
        Ok(subscription)
    }

    /// Follows at one's own pace: see [`Follower`]. Name and policy are not for followers.
    pub fn follow(self) -> Follower {
        let from = first_index(&self.log, self.start);
        let next = from.unwrap_or_else(|| self.log.core().settle(&self.log.core().pin()).end);
        Follower::new(self.log, self.stream, self.selection, next, self.ack.unwrap_or(Ack::Memory))
    }
}

/// Index of the first envelope of the past that is wanted; none for none of it.
fn first_index(log: &Log, start: Start) -> Option<u64> {
    match start {
        Start::Now => None,
        Start::Beginning => Some(log.first().get() - 1),
        Start::After(position) => Some(position.get()),
    }
}

/// Puts a member into its set. The words first: whoever finds it there may settle where it begins (see `Member::start`), and
/// relies on them that nobody who appends later passes it by.
fn enter(log: &Log, stream: Option<&Stream>, member: &Arc<Member>) -> Place {
    let delivery = Delivery::of(log);
    let Some(stream) = stream else {
        log.core().interest.add(Interest::ONE);
        delivery.all.enter(member);
        return Place::Log;
    };
    // The stream's word before the log's: who sees the log's looks at it.
    stream.interest().add(Interest::ONE);
    log.core().interest.add(Interest::STREAM);
    let topic = delivery.streams.join(stream.id(), |topic| topic.set.enter(member).is_some());
    Place::Stream(stream.clone(), topic)
}

/// Delivers the past to an observer.
fn deliver_past(log: &Log, stream: Option<&Stream>, member: &Arc<Member>, past: std::ops::Range<u64>) {
    let (log, stream, member) = (log.clone(), stream.cloned(), member.clone());
    let work = move || {
        let Consumer::Observer(observer) = member.consumer() else { return };
        let delivery = Delivery::of(&log);
        let view = View::new(log.clone(), Position::new(past.end));
        let mut expected = past.start;
        let mut cursor = match &stream {
            None => view.read().after(past.start).cursor(),
            Some(stream) => view.read_stream(stream).after(past.start).cursor(),
        };
        while let Some(envelope) = cursor.next() {
            let index = envelope.position().get() - 1;
            if stream.is_none() && index > expected {
                let removed = HandlerError::Removed(index - expected);
                delivery.report(&Failure::new(Position::new(expected + 1), observer.name.as_deref(), removed));
            }
            expected = index + 1;
            if member.is_left() {
                return;
            }
            delivery.deliver_to(observer, envelope);
        }
    };
    if turn::is_taken() {
        turn::defer(Box::new(work));
    } else {
        turn::take(work, || unreachable!("just asked"));
    }
}

/// Delivers the past to a sequential subscription before anybody else knows of it, until it is near the end: so that no
/// appender has to. When it does not get near because others append faster than it takes, appenders will wait for it.
fn come_near(log: &Log, sequential: &Arc<Sequential>) {
    for _ in 0..ROUNDS {
        let end = log.end();
        if end.get().saturating_sub(sequential.position().get()) <= NEAR {
            return;
        }
        turn::take(
            || sequential.pass_or_wait(log, end.get(), None, None, Delivery::of(log)),
            || unreachable!("not inside a handler"),
        );
    }
}

impl Log {
    /// What to be told of, and from where on.
    pub fn feed(&self) -> Feed {
        Feed::new(self.clone(), None)
    }

    /// Calls a handler for every envelope from now on: see [`Feed::observe`].
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn observe<O: Outcome>(
        &self,
        handler: impl Fn(&Envelope) -> O + Send + Sync + 'static,
    ) -> Result<Subscription, SubscribeError> {
        self.feed().observe(handler)
    }

    /// Calls a handler for every envelope from now on, in order, one at a time: see [`Feed::subscribe`].
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn subscribe<O: Outcome>(
        &self,
        handler: impl FnMut(&Envelope) -> O + Send + 'static,
    ) -> Result<Subscription, SubscribeError> {
        self.feed().subscribe(handler)
    }

    /// Follows the log from now on: see [`Follower`].
    pub fn follow(&self) -> Follower {
        self.feed().follow()
    }

    /// Waits until the subscription of this name has passed a position: see [`Subscription::wait_for`].
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn wait_for(
        &self,
        subscription: &str,
        position: impl Into<Position>,
        timeout: Duration,
    ) -> Result<(), WaitError> {
        match Delivery::of(self).named(subscription) {
            Some(sequential) => wait_for(self, &sequential, position.into(), timeout),
            None => Err(WaitError::Unknown { name: subscription.into() }),
        }
    }

    /// Calls a hook for every failed delivery, whoever delivered, instead of the hook before.
    pub fn on_failure(&self, hook: impl Fn(&Failure) + Send + Sync + 'static) {
        let hook: FailureHook = Arc::new(Box::new(hook));
        Delivery::of(self).hook.change(|_| Some(Some(hook.clone())));
    }
}

impl Stream {
    /// What to be told of this stream, and from where on. Costs nothing to appends to others.
    pub fn feed(&self) -> Feed {
        Feed::new(self.log().clone(), Some(self.clone()))
    }

    /// Calls a handler for every envelope of the stream from now on: see [`Feed::observe`].
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn observe<O: Outcome>(
        &self,
        handler: impl Fn(&Envelope) -> O + Send + Sync + 'static,
    ) -> Result<Subscription, SubscribeError> {
        self.feed().observe(handler)
    }

    /// Calls a handler for every envelope of the stream from now on, in order, one at a time: see [`Feed::subscribe`].
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn subscribe<O: Outcome>(
        &self,
        handler: impl FnMut(&Envelope) -> O + Send + 'static,
    ) -> Result<Subscription, SubscribeError> {
        self.feed().subscribe(handler)
    }

    /// Follows the stream from now on: see [`Follower`].
    pub fn follow(&self) -> Follower {
        self.feed().follow()
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("stream", &self.stream.as_ref().map(Stream::id))
            .field("query", &self.selection.query)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
