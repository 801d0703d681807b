//! Delivering what was appended.

use smallvec::SmallVec;

use super::dispatcher::Dispatcher;
use super::keyed::{Keyed, Topic};
use super::member::{Consumer, Member, Observer};
use super::sequential::{Pass, Sequential};
use super::set::{Set, State};
use super::subscription::SubscribeError;
use super::telemetry;
use super::waiting::Waiters;
use crate::log::{Envelope, Interest, Log, Watcher};
use crate::model::{Failure, Failures, Position};
use crate::sync::{Arc, AtomicU64, CopyOnWrite, Loaded, Ordering, Tally, turn};

/// A hook of the user's for failures.
pub(crate) type FailureHook = Arc<Box<dyn Fn(&Failure) + Send + Sync>>;

pub(crate) const DELIVERED: usize = 0;
pub(crate) const FAILED: usize = 1;

/// All that a log's delivery has. Made with the first subscription.
pub(crate) struct Delivery {
    numbers: AtomicU64,
    /// Subscribers of the whole log, those with a query or a filter included.
    pub(crate) all: Set<Arc<Member>>,
    /// Subscribers of single streams.
    pub(crate) streams: Keyed<Arc<Member>>,
    /// Followers of the whole log that wait.
    pub(crate) waiters: Waiters,
    pub(crate) names: CopyOnWrite<Vec<Arc<Sequential>>>,
    /// Handlers of observers called; deliveries that failed.
    pub(crate) tally: Tally<2>,
    pub(crate) hook: CopyOnWrite<FailureHook>,
    dispatcher: Dispatcher,
    /// Followers that wait for what is written or synced.
    pub(crate) careful: AtomicU64,
}

impl Watcher for Delivery {
    fn appended(&self, log: &Log, envelopes: &[Envelope], stored: bool) -> Failures {
        self.wake_followers(log, envelopes);
        if !Self::has_subscribers(log, envelopes) {
            return Failures::NONE;
        }
        if stored {
            self.dispatcher.add(log, envelopes);
            return Failures::NONE;
        }
        let now = || self.deliver(log, envelopes);
        turn::take(now, || {
            let (log, envelopes) = (log.clone(), envelopes.to_vec());
            Box::new(move || drop(Self::of(&log).deliver(&log, &envelopes)))
        })
        .unwrap_or_default()
    }

    fn closed(&self, log: &Log) {
        telemetry::closed(log.end().get());
        self.waiters.wake_all();
        let wake = |member: &Arc<Member>| match member.consumer() {
            Consumer::Observer(_) => {}
            Consumer::Sequential(sequential) => sequential.wake(),
        };
        self.all.load().get().into_iter().flat_map(|state| &state.members).for_each(wake);
        self.streams.for_each(|topic| {
            topic.waiters.wake_all();
            topic.set.load().get().into_iter().flat_map(|state| &state.members).for_each(wake);
        });
    }
}

impl Delivery {
    fn new() -> Self {
        Self {
            numbers: AtomicU64::new(0),
            all: Set::new(),
            streams: Keyed::new(),
            waiters: Waiters::new(),
            names: CopyOnWrite::new(),
            tally: Tally::new(),
            hook: CopyOnWrite::new(),
            dispatcher: Dispatcher::new(),
            careful: AtomicU64::new(0),
        }
    }

    /// A log's delivery, made when it is not there yet.
    pub(crate) fn of(log: &Log) -> &Self {
        log.core().watcher_or(Self::new)
    }

    #[cfg(feature = "durable")]
    pub(crate) fn of_core(core: &crate::log::Core) -> &Self {
        core.watcher_or(Self::new)
    }

    /// Followers of the whole log that wait.
    #[cfg(feature = "durable")]
    pub(crate) fn followers(&self) -> &Waiters {
        &self.waiters
    }

    /// More is written, or synced: those look again who wait for that.
    #[cfg(feature = "durable")]
    pub(crate) fn marks_moved(&self, core: &crate::log::Core) {
        self.waiters.wake_each(|| core.interest.remove(Interest::WAITING));
        // Relaxed: the fence in `wake_each` orders it after what the caller did, and that in `register` the count before the
        // look at the marks.
        if self.careful.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.streams.for_each(|topic| {
            core.with_interest(topic.key(), |interest| {
                topic.waiters.wake_each(|| interest.remove(Interest::WAITING));
            });
        });
    }

    /// All followers look again.
    #[cfg(feature = "durable")]
    pub(crate) fn wake_all_followers(&self) {
        self.waiters.wake_all();
        self.streams.for_each(|topic| topic.waiters.wake_all());
    }

    /// A number for the next subscription.
    pub(crate) fn number(&self) -> u64 {
        // Relaxed: only the number matters.
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn wake_followers(&self, log: &Log, envelopes: &[Envelope]) {
        let interest = &log.core().interest;
        if Interest::is_waited_for(interest.word()) {
            self.waiters.wake_each(|| interest.remove(Interest::WAITING));
        }
        for envelope in envelopes {
            let interest = envelope.interest();
            if Interest::is_waited_for(interest.word()) {
                let wake = |topic: &Arc<Topic<Arc<Member>>>| {
                    topic.waiters.wake_each(|| interest.remove(Interest::WAITING));
                };
                self.streams.with(envelope.stream(), wake);
            }
        }
    }

    fn has_subscribers(log: &Log, envelopes: &[Envelope]) -> bool {
        Interest::has_subscribers(log.core().interest.word())
            || envelopes.iter().any(|envelope| Interest::has_subscribers(envelope.interest().word()))
    }

    /// Delivers envelopes of one append, in order, to all who are subscribed as the delivery of each begins. Waits for those
    /// who are delivering them already.
    pub(crate) fn deliver(&self, log: &Log, envelopes: &[Envelope]) -> Failures {
        let mut failures = Vec::new();
        for envelope in envelopes {
            self.deliver_one(log, envelope, &mut failures);
        }
        failures.into()
    }

    fn deliver_one(&self, log: &Log, envelope: &Envelope, failures: &mut Vec<Failure>) {
        let snapshot = self.snapshot(envelope);
        let mut busy: SmallVec<[&Arc<Member>; 4]> = SmallVec::new();
        snapshot.for_each(|member| {
            if member.is_closed() || member.start(log.core()) >= envelope.position().get() {
                return;
            }
            match member.consumer() {
                Consumer::Observer(observer) => failures.extend(self.deliver_to(observer, envelope)),
                Consumer::Sequential(sequential) => {
                    let end = envelope.position().get();
                    match sequential.pass(log, end, Some(envelope), self) {
                        Pass::Passed => failures.extend(sequential.failure_at(envelope.position())),
                        Pass::Busy => busy.push(member),
                    }
                }
            }
        });
        // Those that others are delivering to come last: nobody's handler holds up the others.
        for member in busy {
            let Consumer::Sequential(sequential) = member.consumer() else { continue };
            let end = envelope.position().get();
            sequential.pass_or_wait(log, end, Some(envelope), None, self);
            failures.extend(sequential.failure_at(envelope.position()));
        }
    }

    /// Calls an observer. Its failure has been told by then.
    pub(crate) fn deliver_to(&self, observer: &Observer, envelope: &Envelope) -> Option<Failure> {
        match observer.deliver(envelope) {
            Ok(delivered) => {
                self.tally.add(DELIVERED, u64::from(delivered));
                None
            }
            Err(failure) => {
                self.report(&failure);
                Some(failure)
            }
        }
    }

    /// Who is subscribed at one instant, to the log and to the envelope's stream. Who comes after the envelope took effect
    /// does not get it, so of those who do there are only fewer from look to look.
    fn snapshot(&self, envelope: &Envelope) -> Snapshot {
        if !Interest::has_subscribers(envelope.interest().word()) {
            // The log's after the stream's: when it was loaded, the other was still empty.
            return Snapshot { all: self.all.load(), stream: None };
        }
        let mut all = self.all.load();
        loop {
            // One after the other, and the first again: if that is the same, it was so when the other was loaded.
            let stream = self.streams.with(envelope.stream(), |topic| topic.set.load());
            let again = self.all.load();
            if again.is(&all) {
                return Snapshot { all, stream };
            }
            all = again;
        }
    }

    /// Counts a failure, and tells the hook.
    pub(crate) fn report(&self, failure: &Failure) {
        self.tally.add(FAILED, 1);
        telemetry::failed(failure);
        if let Some(hook) = self.hook.load().get() {
            // A hook that panics has nobody to tell.
            let _ = super::outcome::call(|| {
                hook(failure);
                Ok(())
            });
        }
    }

    /// Gives a subscription its name, when it has one.
    pub(crate) fn take_name(&self, sequential: &Arc<Sequential>) -> Result<(), SubscribeError> {
        let Some(name) = sequential.name() else { return Ok(()) };
        let taken = self.names.change(|old| {
            let mut all = old.cloned().unwrap_or_default();
            if all.iter().any(|other| other.name() == Some(name)) {
                return None;
            }
            all.push(sequential.clone());
            Some(Some(all))
        });
        if taken { Ok(()) } else { Err(SubscribeError::NameTaken { name: name.into() }) }
    }

    pub(crate) fn forget_name(&self, sequential: &Arc<Sequential>) {
        self.names.change(|old| {
            let mut all = old?.clone();
            let at = all.iter().position(|other| Arc::ptr_eq(other, sequential))?;
            all.remove(at);
            Some((!all.is_empty()).then_some(all))
        });
    }

    /// The subscription of this name.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<Sequential>> {
        let names = self.names.load();
        names.get()?.iter().find(|sequential| sequential.name() == Some(name)).cloned()
    }

    /// Delivers to a sequential subscription what is before `end`, now or when the turn comes. Until then nobody who closes it
    /// goes on: that is what the member is for.
    pub(crate) fn catch_up(log: &Log, member: &Arc<Member>, end: Position) {
        let drain = move |log: &Log, member: &Member| {
            if let Consumer::Sequential(sequential) = member.consumer() {
                sequential.pass_or_wait(log, end.get(), None, None, Self::of(log));
            }
        };
        turn::take(
            || drain(log, member),
            || {
                let (log, member) = (log.clone(), member.clone());
                Box::new(move || drain(&log, &member))
            },
        );
    }
}

struct Snapshot {
    all: Loaded<State<Arc<Member>>>,
    stream: Option<Loaded<State<Arc<Member>>>>,
}

impl Snapshot {
    /// In subscription order.
    fn for_each<'s>(&'s self, mut visit: impl FnMut(&'s Arc<Member>)) {
        use super::set::Member as _;
        let members = |state: Option<&'s State<Arc<Member>>>| state.map_or(&[][..], |state| &state.members[..]);
        let mut all = members(self.all.get()).iter().peekable();
        let mut stream = members(self.stream.as_ref().and_then(Loaded::get)).iter().peekable();
        loop {
            let next = match (all.peek(), stream.peek()) {
                (Some(a), Some(s)) if a.number() > s.number() => stream.next(),
                (Some(_), _) => all.next(),
                (None, _) => stream.next(),
            };
            let Some(member) = next else { return };
            visit(member);
        }
    }
}
