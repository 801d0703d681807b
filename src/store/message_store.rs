//! The message store: streams, sessions, filters and counts over any backend.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use futures_core::Stream;

use super::capabilities::Statistics;
use super::error::{AppendFailure, ReadFailure, TruncateFailure};
use super::event_store::{EventStore, RefusedBatch, RefusedMessage};
use super::filter::Filter;
use super::select::{Follow, Select};
use super::session::Session;
use super::sessions::{Listed, SessionError, SessionInfo, Sessions};
use super::stamped::{save_all, save_one};
use crate::delivery::{Feed, Followed};
use crate::log::{AppendOptions, Appended, Batch, BatchAppended, BuildError, Builder, Envelope, Log, StreamInfo};
use crate::model::{Clock, Kind, Message, Position, Revision, Timestamp};
use crate::sync::{Arc, CopyOnWrite, Loaded, StdArc};

/// Sessions that a store lists, unless set otherwise.
const SESSIONS: usize = 10_000;

/// Messages in streams, with sessions, filters and counts, over any [`EventStore`]; over a [`Log`] unless said otherwise.
/// Cloning it makes another handle to the same store.
///
/// Everything takes `&self` and may be called from any number of threads and tasks. The message store itself takes no lock:
/// what a call waits for is what the backend's waits for, and over a `Log` futures are ready at once ([`block_on`] and
/// [`iterate`] are for threads).
///
/// Sessions are in the message store's memory, not in the backend: it lists those that were opened here. The messages have
/// their session's id wherever they go.
///
/// ```
/// use annals::store::{Filter, MessageStore, block_on, iterate};
/// use annals::{Expected, Message};
///
/// let store = MessageStore::new();
/// block_on(store.save_with("account-1", Message::event("Opened", "")?, Expected::NoStream))?;
/// block_on(store.save("account-1", Message::event("Deposited", "100")?))?;
///
/// let late = block_on(store.save_with("account-1", Message::event("Closed", "")?, Expected::exactly(0)));
/// assert_eq!(late.unwrap_err().to_string(), r#"stream "account-1" is at revision 1, expected at revision 0"#);
///
/// assert_eq!(iterate(store.read_stream("account-1", 1, 0)).count(), 1);
/// assert_eq!(iterate(store.read_events(&Filter::new())).count(), 2);
/// assert_eq!(block_on(store.statistics())?.messages, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`block_on`]: super::block_on
/// [`iterate`]: super::iterate
pub struct MessageStore<S = Log>(Arc<Inner<S>>);

struct Inner<S> {
    /// Empty once it was disposed of.
    state: CopyOnWrite<Arc<State<S>>>,
    make: Box<dyn Fn() -> S + Send + Sync>,
    clock: StdArc<dyn Clock>,
    max_sessions: usize,
}

/// What a reset replaces.
pub(super) struct State<S> {
    pub(super) store: S,
    pub(super) sessions: Sessions,
    pub(super) clock: StdArc<dyn Clock>,
}

impl<S> State<S> {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Settings of a [`MessageStore`].
#[must_use = "settings do nothing until the store is made"]
pub struct StoreBuilder {
    clock: StdArc<dyn Clock>,
    max_sessions: usize,
}

impl StoreBuilder {
    /// Takes the times at which sessions begin and end from `clock`. (The times of messages are the backend's.) Without this:
    /// the system's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = StdArc::new(clock);
        self
    }

    /// How many sessions may be listed, those ended included. Without this: 10,000.
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.max_sessions = sessions;
        self
    }

    /// A store over a log with settings; a log that is made now, and made again by each reset.
    ///
    /// # Errors
    /// [`BuildError`] when a setting is out of range.
    pub fn log(self, builder: Builder) -> Result<MessageStore, BuildError> {
        builder.clone().build()?;
        Ok(self.over(move || match builder.clone().build() {
            Ok(log) => log,
            Err(_) => unreachable!("it was built before"),
        }))
    }

    /// A store over a backend that `make` makes: now, and again by each reset, empty. (By resets at the same time perhaps
    /// once too often; what is made in vain is dropped.)
    pub fn over<S: EventStore>(self, make: impl Fn() -> S + Send + Sync + 'static) -> MessageStore<S> {
        let inner = Inner {
            state: CopyOnWrite::new(),
            make: Box::new(make),
            clock: self.clock,
            max_sessions: self.max_sessions,
        };
        let state = inner.make_state();
        inner.state.change(|_| Some(Some(state.clone())));
        MessageStore(Arc::new(inner))
    }
}

impl<S> Inner<S> {
    fn make_state(&self) -> Arc<State<S>> {
        let sessions = Sessions::new(self.max_sessions);
        Arc::new(State { store: (self.make)(), sessions, clock: self.clock.clone() })
    }
}

impl MessageStore {
    /// A store over a log that counts commands and events, with the defaults of everything.
    pub fn new() -> Self {
        match Self::builder().log(Log::builder().counted()) {
            Ok(store) => store,
            Err(_) => unreachable!("the defaults are in range"),
        }
    }

    /// Settings.
    pub fn builder() -> StoreBuilder {
        StoreBuilder { clock: StdArc::new(|| Timestamp::from(SystemTime::now())), max_sessions: SESSIONS }
    }

    /// The log behind it, for everything that a [`Log`] can do: observers, views, appenders. A reset puts another log in its
    /// place.
    ///
    /// # Errors
    /// [`ReadFailure::Closed`] when the store was disposed of.
    pub fn log(&self) -> Result<Log, ReadFailure> {
        self.with(|state| state.store.clone()).ok_or(ReadFailure::Closed)
    }

    /// A live feed of what is saved, for any number of subscribers: of one of them that fails the others know nothing. After a
    /// reset it is silent, as what it was subscribed to is closed.
    ///
    /// ```
    /// use annals::store::{MessageStore, block_on};
    /// use annals::{Message, Query};
    ///
    /// let store = MessageStore::new();
    /// let orders = store.feed()?.matching(Query::correlation_prefix("order-"));
    /// let watch = orders.observe(|envelope: &annals::Envelope| println!("{}", envelope.name()))?;
    /// block_on(store.save("orders", Message::builder("Placed").correlation_id("order-7").build()?))?;
    /// watch.close();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ReadFailure::Closed`] when the store was disposed of.
    pub fn feed(&self) -> Result<Feed, ReadFailure> {
        Ok(self.log()?.feed())
    }
}

impl Default for MessageStore {
    fn default() -> Self {
        Self::new()
    }
}

/// # Saving
impl<S: EventStore> MessageStore<S> {
    /// Saves a message: [`save_with`](Self::save_with) without terms.
    ///
    /// # Errors
    /// [`AppendFailure`], with the message.
    #[inline]
    pub fn save(
        &self,
        stream: &str,
        message: Message<'_>,
    ) -> impl Future<Output = Result<Appended, RefusedMessage>> + Send {
        self.save_with(stream, message, AppendOptions::new())
    }

    /// Saves a message on terms: an [`Expected`](crate::Expected), a `&Condition`, or [`AppendOptions`]. As
    /// [`EventStore::append`]; while a session is current, and the message has no session id of its own, it gets that one's.
    ///
    /// Saved at the same time as a reset, it is in the store before the reset or in the one after it.
    ///
    /// # Errors
    /// [`AppendFailure`], with the message.
    pub async fn save_with<'c>(
        &self,
        stream: &str,
        mut message: Message<'_>,
        options: impl Into<AppendOptions<'c>>,
    ) -> Result<Appended, RefusedMessage> {
        let options = options.into();
        loop {
            let loaded = self.0.state.load();
            let Some(state) = loaded.get() else {
                return Err(RefusedMessage { error: AppendFailure::Closed, rejected: message.into_owned() });
            };
            let saved = match state.sessions.current() {
                None => state.store.append(stream, message, options).await,
                Some(session) => save_one(&state.store, &session, stream, message, options).await,
            };
            match saved {
                Err(refused) if self.was_reset(&refused.error, &loaded) => message = refused.rejected,
                result => return result,
            }
        }
    }

    /// Saves several messages, to one stream or several, at one instant or not at all. As
    /// [`EventStore::append_batch`], and as [`save_with`](Self::save_with) in what concerns sessions and resets.
    ///
    /// # Errors
    /// [`AppendFailure`], with the batch.
    pub async fn save_batch(&self, mut batch: Batch<'_>) -> Result<BatchAppended, RefusedBatch> {
        loop {
            let loaded = self.0.state.load();
            let Some(state) = loaded.get() else {
                return Err(RefusedBatch { error: AppendFailure::Closed, rejected: batch.into_owned() });
            };
            let saved = match state.sessions.current() {
                None => state.store.append_batch(batch).await,
                Some(session) => save_all(&state.store, &session, batch).await,
            };
            match saved {
                Err(refused) if self.was_reset(&refused.error, &loaded) => batch = refused.rejected,
                result => return result,
            }
        }
    }

    /// Whether it was refused only because a reset came between.
    fn was_reset(&self, error: &AppendFailure, loaded: &Loaded<Arc<State<S>>>) -> bool {
        matches!(error, AppendFailure::Closed) && {
            let now = self.0.state.load();
            now.get().is_some() && !now.is(loaded)
        }
    }
}

/// # Reading
impl<S: EventStore> MessageStore<S> {
    /// Reads what is selected: [`EventStore::read`].
    ///
    /// # Errors
    /// [`ReadFailure`], as the last item.
    pub fn read(&self, select: Select) -> impl Stream<Item = Result<Envelope, ReadFailure>> + Send + Unpin + use<S> {
        Maybe::of(self.with(|state| state.store.read(select)))
    }

    /// Reads a stream from a revision on; of that only the most recent `count`, unless that is 0. A stream that was never
    /// written, and a revision past its end, read as empty.
    ///
    /// # Errors
    /// [`ReadFailure`], as the last item.
    pub fn read_stream<R: Into<Revision>>(
        &self,
        stream: &str,
        from: R,
        count: u64,
    ) -> impl Stream<Item = Result<Envelope, ReadFailure>> + Send + Unpin + use<S, R> {
        let mut select = Select::stream(stream).from_revision(from.into());
        select.last = (count > 0).then_some(count);
        self.read(select)
    }

    /// Reads everything that the filter lets through.
    ///
    /// # Errors
    /// [`ReadFailure`], as the last item.
    pub fn read_all(
        &self,
        filter: &Filter,
    ) -> impl Stream<Item = Result<Envelope, ReadFailure>> + Send + Unpin + use<S> {
        self.read(filter.select())
    }

    /// Reads all commands that the filter lets through, whatever kind it asks for.
    ///
    /// # Errors
    /// [`ReadFailure`], as the last item.
    pub fn read_commands(
        &self,
        filter: &Filter,
    ) -> impl Stream<Item = Result<Envelope, ReadFailure>> + Send + Unpin + use<S> {
        self.read(filter.of_kind(Some(Kind::Command)))
    }

    /// Reads all events that the filter lets through, whatever kind it asks for.
    ///
    /// # Errors
    /// [`ReadFailure`], as the last item.
    pub fn read_events(
        &self,
        filter: &Filter,
    ) -> impl Stream<Item = Result<Envelope, ReadFailure>> + Send + Unpin + use<S> {
        self.read(filter.of_kind(Some(Kind::Event)))
    }

    /// Reads what was saved in a session, listed or not, of what the filter lets through; whatever session that asks for.
    /// `no-session`: what was saved without one.
    ///
    /// # Errors
    /// [`ReadFailure`], as the last item.
    pub fn session_messages(
        &self,
        session: &str,
        filter: &Filter,
    ) -> impl Stream<Item = Result<Envelope, ReadFailure>> + Send + Unpin + use<S> {
        self.read(filter.of_session(session))
    }

    /// Follows what is saved: [`EventStore::follow`]. Ends when the store is reset or disposed of.
    ///
    /// # Errors
    /// [`ReadFailure`], as the last item.
    pub fn follow(&self, follow: Follow) -> impl Stream<Item = Result<Followed, ReadFailure>> + Send + Unpin + use<S> {
        Maybe::of(self.with(|state| state.store.follow(follow)))
    }

    /// What is known of a stream; none when it was never written.
    ///
    /// # Errors
    /// [`ReadFailure`].
    pub async fn stream_info(&self, stream: &str) -> Result<Option<StreamInfo>, ReadFailure> {
        self.ask(|state| async move { state.store.stream_info(stream).await }).await
    }

    /// The streams that have been written, in the order of their first messages.
    ///
    /// # Errors
    /// [`ReadFailure`].
    pub async fn streams(&self) -> Result<Vec<Box<str>>, ReadFailure> {
        self.ask(|state| async move { state.store.streams().await }).await
    }

    /// What the backend knows of itself, and how many sessions are listed. Not a scan.
    ///
    /// # Errors
    /// [`ReadFailure`].
    pub async fn statistics(&self) -> Result<Statistics, ReadFailure> {
        self.ask(|state| async move {
            let mut statistics = state.store.statistics().await?;
            statistics.sessions = Some(state.sessions.len() as u64);
            Ok(statistics)
        })
        .await
    }

    /// Asks the store as it is now, whatever is put in its place meanwhile.
    async fn ask<'f, R, F>(&self, question: impl FnOnce(Arc<State<S>>) -> F) -> Result<R, ReadFailure>
    where
        F: Future<Output = Result<R, ReadFailure>> + 'f,
    {
        let Some(state) = self.with(Arc::clone) else { return Err(ReadFailure::Closed) };
        question(state).await
    }

    fn with<R>(&self, take: impl FnOnce(&Arc<State<S>>) -> R) -> Option<R> {
        self.0.state.load().get().map(take)
    }
}

/// # Sessions
impl<S: EventStore> MessageStore<S> {
    /// Opens a session: a handle that stamps what is saved through it, from any number of threads. Takes O(n) for n sessions
    /// listed. Lock-free.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn open_session(&self, id: &str) -> Result<Session<S>, SessionError> {
        let state = self.with(Arc::clone).ok_or(SessionError::Closed)?;
        let listed = state.sessions.open(id, state.now())?;
        Ok(Session::new(state, listed))
    }

    /// Opens a session and makes it the store's current one, which stamps what is saved without a handle. The one that was
    /// current is not current any more, and stays open. Lock-free.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn begin_session(&self, id: &str) -> Result<Session<S>, SessionError> {
        let session = self.open_session(id)?;
        session.make_current();
        Ok(session)
    }

    /// Ends a session; whether it was open. It stays listed. One that is unknown or ended stays as it is. Without a current
    /// session what is saved is of `no-session`: ending one does not restore the one before. Lock-free.
    #[allow(clippy::must_use_candidate, reason = "mostly nobody asks")]
    pub fn end_session(&self, id: &str) -> bool {
        self.with(|state| match state.sessions.find(id) {
            Some(session) => session.end(state.now()),
            None => false,
        })
        .unwrap_or(false)
    }

    /// Takes an ended session off the list, so that another has room; whether it was there and ended. Its messages stay.
    pub fn forget_session(&self, id: &str) -> bool {
        self.with(|state| state.sessions.forget(id)).unwrap_or(false)
    }

    /// The id of the current session; none when there is none, and what is saved is of `no-session`. Wait-free.
    pub fn current_session(&self) -> Option<Box<str>> {
        self.with(|state| state.sessions.current()).flatten().map(|session| session.id().into())
    }

    /// A session that is listed; none when it is not.
    ///
    /// # Errors
    /// [`ReadFailure`].
    pub async fn session(&self, id: &str) -> Result<Option<SessionInfo>, ReadFailure> {
        let state = self.with(Arc::clone).ok_or(ReadFailure::Closed)?;
        match state.sessions.find(id) {
            Some(listed) => Ok(Some(state.info(&listed).await?)),
            None => Ok(None),
        }
    }

    /// The sessions, open and ended, in the order in which they were opened. Looks one message up for each.
    ///
    /// # Errors
    /// [`ReadFailure`].
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, ReadFailure> {
        let state = self.with(Arc::clone).ok_or(ReadFailure::Closed)?;
        let listed = state.sessions.all();
        let mut sessions = Vec::with_capacity(listed.len());
        for session in &listed {
            sessions.push(state.info(session).await?);
        }
        Ok(sessions)
    }
}

impl<S: EventStore> State<S> {
    /// A session, with the time of its last message.
    pub(super) async fn info(&self, listed: &Listed) -> Result<SessionInfo, ReadFailure> {
        let mut info = listed.info();
        if let Some(last) = info.last {
            let mut read = self.store.read(Select::all().from(last).to(last));
            let envelope = std::future::poll_fn(|context| Pin::new(&mut read).poll_next(context)).await;
            info.last_activity = envelope.transpose()?.and_then(|envelope| envelope.time());
        }
        Ok(info)
    }
}

/// # The whole store
impl<S: EventStore> MessageStore<S> {
    /// Removes everything before a position: [`EventStore::truncate_before`].
    ///
    /// # Errors
    /// [`TruncateFailure`].
    pub async fn truncate_before(&self, position: impl Into<Position>) -> Result<Position, TruncateFailure> {
        let state = self.with(Arc::clone).ok_or(TruncateFailure::Closed)?;
        state.store.truncate_before(position.into()).await
    }

    /// Empties the store, sessions included: an empty backend is put in the place of the one that is there, which is then
    /// closed. Positions start at 1 again. Whether it was done; not when the store was disposed of.
    ///
    /// What is saved at the same time is in one of the two. Reads that began go on in the old one, which lives as long as
    /// somebody reads it; its followers end, and session handles are refused as closed.
    pub async fn reset(&self) -> bool {
        let fresh = self.0.make_state();
        let mut old = None;
        let done = self.0.state.change(|state| {
            old = state.cloned();
            state.map(|_| Some(fresh.clone()))
        });
        if let (true, Some(old)) = (done, old) {
            old.store.close().await;
        }
        done
    }

    /// Ends the store: the backend is closed, and from now on every call is refused as closed, through every handle.
    /// Idempotent. What was read stays valid; reads that began go on.
    pub async fn dispose(&self) {
        let state = self.0.state.take();
        if let Some(state) = state.get() {
            state.store.close().await;
        }
    }
}

impl<S> Clone for MessageStore<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: fmt::Debug> fmt::Debug for MessageStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.load();
        f.debug_struct("MessageStore").field("store", &state.get().map(|state| &state.store)).finish_non_exhaustive()
    }
}

impl fmt::Debug for StoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreBuilder").field("max_sessions", &self.max_sessions).finish_non_exhaustive()
    }
}

/// What the store gives; or, of a store that was disposed of, the word that it is closed.
enum Maybe<R> {
    Open(R),
    Closed(bool),
}

impl<R> Maybe<R> {
    fn of(read: Option<R>) -> Self {
        read.map_or(Self::Closed(false), Self::Open)
    }
}

impl<T, R: Stream<Item = Result<T, ReadFailure>> + Unpin> Stream for Maybe<R> {
    type Item = R::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<R::Item>> {
        match self.get_mut() {
            Self::Open(read) => Pin::new(read).poll_next(context),
            Self::Closed(told) if !*told => {
                *told = true;
                Poll::Ready(Some(Err(ReadFailure::Closed)))
            }
            Self::Closed(_) => Poll::Ready(None),
        }
    }
}
