//! Loading aggregates, and deciding on them.

use std::fmt;

use super::aggregate::{Aggregate, At, Loaded, stream_of};
use super::error::{DecideError, InvalidEvent, LoadError};
use super::event::Event;
use super::reading::{each, one};
use super::snapshots::Snapshots;
use crate::log::{Batch, Log};
use crate::model::{Expected, Failures, Position, Query, Revision};
use crate::store::{AppendFailure, EventStore, Select};
use crate::sync::StdArc;

/// How often a decision is tried, unless set otherwise.
const ATTEMPTS: u32 = 100;

/// The aggregates of one type in a store, which may be any [`EventStore`].
///
/// Takes no lock, and may be used by any number of threads and tasks at once. What a call waits for is what the store's does:
/// over a [`Log`] futures are ready at once.
///
/// ```
/// use annals::sourcing::{Aggregate, Aggregates, Event, Recorded};
/// use annals::store::{BackendError, block_on};
/// use annals::{Log, Name, Payload};
///
/// struct Withdrawn(u64);
///
/// impl Event for Withdrawn {
///     fn name(&self) -> Name<'static> {
///         const { Name::from_static("Withdrawn") }
///     }
///     fn encode(&self) -> Result<Payload<'_>, BackendError> {
///         Ok(self.0.to_le_bytes().to_vec().into())
///     }
///     fn decode(recorded: Recorded<'_>) -> Result<Option<Self>, BackendError> {
///         Ok(Some(Self(u64::from_le_bytes(recorded.payload.try_into()?))))
///     }
/// }
///
/// #[derive(Clone, Debug, Default)]
/// struct Account {
///     overdraft: u64,
/// }
///
/// impl Aggregate for Account {
///     type Event = Withdrawn;
///     const CATEGORY: &'static str = "account";
///     fn apply(&mut self, event: &Withdrawn) {
///         self.overdraft += event.0;
///     }
/// }
///
/// let accounts = Aggregates::<Account>::new(Log::new());
/// let withdraw = |cents| {
///     move |account: &Account| {
///         if account.overdraft + cents > 500 { Err("not more than 5") } else { Ok(vec![Withdrawn(cents)]) }
///     }
/// };
/// assert_eq!(block_on(accounts.decide("7", withdraw(300)))?.state.overdraft, 300);
/// let refused = block_on(accounts.decide("7", withdraw(300))).unwrap_err();
/// assert_eq!(refused.to_string(), "refused: not more than 5");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Aggregates<A, S = Log> {
    store: StdArc<S>,
    snapshots: StdArc<Snapshots<A>>,
    attempts: u32,
}

/// What a decision came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Decided<A> {
    /// The state with what was decided.
    pub state: A,
    /// The last revision that is in it; none when there has been no event.
    pub revision: Option<Revision>,
    /// The position of the last event that was appended; none when nothing was to be done.
    pub position: Option<Position>,
    /// How often others were faster.
    pub conflicts: u32,
    /// It had been decided before, under the same key: see [`Aggregates::decide_once`].
    pub repeated: bool,
    /// Deliveries of the events that failed before this returned. The events stand.
    pub failures: Failures,
}

impl<A: Aggregate, S: EventStore> Aggregates<A, S> {
    /// The aggregates in a store, without snapshots.
    pub fn new(store: S) -> Self {
        Self::shared(StdArc::new(store))
    }

    /// The aggregates in a store that others use, too.
    pub fn shared(store: StdArc<S>) -> Self {
        Self { store, snapshots: StdArc::new(Snapshots::new(0, 0)), attempts: ATTEMPTS }
    }

    /// Keeps states in memory, of at most so many aggregates, each anew after `every` events: loading then reads only what came
    /// after. Without this, none are kept.
    ///
    /// A snapshot never decides anything: an append is admitted by the revision of its stream.
    #[must_use]
    pub fn snapshots(mut self, every: u64, at_most: usize) -> Self {
        self.snapshots = StdArc::new(Snapshots::new(every, at_most));
        self
    }

    /// How often a decision is tried while others are faster, at least once. Without this: 100 times.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// An aggregate as it is. One that nothing has happened to is the default.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load(&self, id: &str) -> Result<Loaded<A>, LoadError> {
        let begun = self.snapshots.find(id, Revision::MAX).unwrap_or_default();
        let loaded = self.go_on(begun, id, |rest| rest, true).await?;
        self.snapshots.keep(id, &loaded);
        Ok(loaded)
    }

    /// An aggregate as it was: at a [`Position`], a [`Revision`] or a [`Timestamp`](crate::Timestamp). Past the end it is as it
    /// is now. Snapshots help with revisions alone.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load_at(&self, id: &str, at: impl Into<At>) -> Result<Loaded<A>, LoadError> {
        let at = at.into();
        let begun = match at {
            At::Revision(revision) => self.snapshots.find(id, revision).unwrap_or_default(),
            _ => Loaded::default(),
        };
        self.go_on(begun, id, |rest| at.bound(rest), true).await
    }

    /// Folds what comes after a state, as far as `bound` lets it. With `whole`, makes sure that nothing of it was removed.
    async fn go_on(
        &self,
        begun: Loaded<A>,
        id: &str,
        bound: impl FnOnce(Select) -> Select,
        whole: bool,
    ) -> Result<Loaded<A>, LoadError> {
        let (stream, next, mut loaded) = (stream_of::<A>(id), begun.next(), begun);
        self.fold(bound(Select::stream(&*stream).from_revision(next)), &mut loaded).await?;
        if whole && loaded.next() == next {
            self.check_nothing_removed(&stream, next).await?;
        }
        Ok(loaded)
    }

    /// Nothing was found from `next` on: because there is nothing yet, or nothing any more.
    async fn check_nothing_removed(&self, stream: &str, next: Revision) -> Result<(), LoadError> {
        let Some(info) = self.store.stream_info(stream).await? else { return Ok(()) };
        let found = Revision::new(info.revision.get() + 1 - info.messages);
        if found > next { Err(removed(stream, next, found)) } else { Ok(()) }
    }

    /// Decides on an aggregate: loads it, asks `decide` which events happen now, and appends them together if nothing else
    /// happened to it meanwhile. Otherwise folds what did, and asks again.
    ///
    /// `decide` may so be asked several times, each time with a later state; only its last answer counts. No events, or a
    /// refusal, end it: they are an answer to the state as it was at some instant of this call.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn decide<R, E: IntoIterator<Item = A::Event>>(
        &self,
        id: &str,
        decide: impl Fn(&A) -> Result<E, R>,
    ) -> Result<Decided<A>, DecideError<R>> {
        self.attempt(id, None, decide).await
    }

    /// As [`decide`](Self::decide), once for each key: after a decision that appended something under the same key in the
    /// same stream, nothing is decided any more, and the state is returned as it is now. So whoever does not know whether a
    /// command went through may send it again.
    ///
    /// Needs a store with [`Capability::Once`](crate::store::Capability::Once), and looks for the key in the whole stream: an
    /// index of message ids makes that short. Events get the message ids `stream/key/0`, `stream/key/1` and so on, which
    /// nobody else may give to messages.
    ///
    /// # Errors
    /// [`DecideError`].
    pub async fn decide_once<R, E: IntoIterator<Item = A::Event>>(
        &self,
        id: &str,
        key: &str,
        decide: impl Fn(&A) -> Result<E, R>,
    ) -> Result<Decided<A>, DecideError<R>> {
        if let Some(decided) = self.before(id, key).await? {
            return Ok(decided);
        }
        self.attempt(id, Some(key), decide).await
    }

    async fn attempt<R, E: IntoIterator<Item = A::Event>>(
        &self,
        id: &str,
        key: Option<&str>,
        decide: impl Fn(&A) -> Result<E, R>,
    ) -> Result<Decided<A>, DecideError<R>> {
        let stream = stream_of::<A>(id);
        let begun = self.snapshots.find(id, Revision::MAX).unwrap_or_default();
        // What was removed shows in a conflict.
        let mut loaded = self.go_on(begun, id, |rest| rest, false).await?;
        let mut conflicts = 0;
        loop {
            let events: Vec<_> = decide(&loaded.state).map_err(DecideError::Refused)?.into_iter().collect();
            if events.is_empty() {
                return Ok(Decided::of(loaded, conflicts));
            }
            let batch = batch_of(&stream, &loaded, &events, key)?;
            let conflict = match self.store.append_batch(batch).await {
                Ok(appended) if appended.repeated => return self.again(id, appended.last).await,
                Ok(appended) => {
                    for event in &events {
                        loaded.state.apply(event);
                    }
                    loaded.revision = appended.revisions.last().copied();
                    self.snapshots.keep(id, &loaded);
                    let decided = Decided::of(loaded, conflicts);
                    return Ok(Decided { position: Some(appended.last), failures: appended.failures, ..decided });
                }
                Err(refused) => match refused.error {
                    AppendFailure::Conflict(conflict) => conflict,
                    AppendFailure::PartlyRepeated { position } => return self.again(id, position).await,
                    other => return Err(DecideError::Append(other)),
                },
            };
            conflicts += 1;
            if conflicts == self.attempts {
                return Err(DecideError::Contended { attempts: conflicts, conflict: conflict.into() });
            }
            self.fold(conflict.missed(), &mut loaded).await?;
            if loaded.revision < conflict.actual {
                let found = conflict.actual.map_or(Revision::FIRST, Revision::next);
                return Err(removed(&stream, loaded.next(), found).into());
            }
        }
    }

    /// The state, when something was decided under the key.
    async fn before<R>(&self, id: &str, key: &str) -> Result<Option<Decided<A>>, DecideError<R>> {
        let stream = stream_of::<A>(id);
        let first = Select::stream(&*stream).matching(Query::message_id(&message_id(&stream, key, 0))).first(1);
        let found = one(self.store.read(first)).await.map_err(LoadError::from)?;
        match found {
            Some(envelope) => self.again(id, envelope.position()).await.map(Some),
            None => Ok(None),
        }
    }

    /// What was decided before, at that position.
    async fn again<R>(&self, id: &str, position: Position) -> Result<Decided<A>, DecideError<R>> {
        let decided = Decided::of(self.load(id).await?, 0);
        Ok(Decided { position: Some(position), repeated: true, ..decided })
    }

    async fn fold(&self, select: Select, loaded: &mut Loaded<A>) -> Result<(), LoadError> {
        each(self.store.read(select), |envelope| loaded.fold(envelope)).await
    }
}

impl<A> Decided<A> {
    fn of(loaded: Loaded<A>, conflicts: u32) -> Self {
        let Loaded { state, revision } = loaded;
        Self { state, revision, position: None, conflicts, repeated: false, failures: Failures::NONE }
    }
}

/// A key is one of its stream.
fn message_id(stream: &str, key: &str, at: usize) -> String {
    format!("{stream}/{key}/{at}")
}

fn removed(stream: &str, expected: Revision, found: Revision) -> LoadError {
    LoadError::Removed { stream: stream.into(), expected, found }
}

/// The events, to be appended to the stream as it was loaded.
fn batch_of<'e, A: Aggregate>(
    stream: &'e str,
    loaded: &Loaded<A>,
    events: &'e [A::Event],
    key: Option<&str>,
) -> Result<Batch<'e>, InvalidEvent> {
    let expected = loaded.revision.map_or(Expected::NoStream, Expected::Exactly);
    let mut batch = Batch::new().expect(stream, expected);
    for (at, event) in events.iter().enumerate() {
        let mut message = event.message()?;
        if let Some(key) = key {
            let named = message.into_builder().message_id(message_id(stream, key, at)).build();
            message =
                named.map_err(|invalid| InvalidEvent { name: event.name().as_str().into(), source: invalid.into() })?;
        }
        batch = batch.add(stream, message);
    }
    Ok(if key.is_some() { batch.once() } else { batch })
}

impl<A, S> Clone for Aggregates<A, S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), snapshots: self.snapshots.clone(), attempts: self.attempts }
    }
}

impl<A, S: fmt::Debug> fmt::Debug for Aggregates<A, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregates").field("store", &self.store).finish_non_exhaustive()
    }
}
