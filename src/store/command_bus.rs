//! Commands go to their handlers, what these answer goes into a store.

use std::collections::HashMap;
use std::fmt;

use thiserror::Error;

use super::error::{AppendFailure, BackendError};
use super::event_store::EventStore;
use super::message_store::MessageStore;
use super::session::Session;
use crate::log::{Batch, BatchAppended};
use crate::model::Message;
use crate::sync::{CopyOnWrite, StdArc};

/// One handler for each name of a command: it answers with the messages to save, which are saved as one batch.
///
/// What a handler answers inherits the command's request and correlation id, unless a message has its own. A handler may ask
/// of streams whatever a [`Batch`] can: a conflict comes back to whoever dispatched, who may dispatch again.
///
/// ```
/// use annals::store::{CommandBus, MessageStore, block_on, iterate, Select};
/// use annals::{Batch, InvalidMessage, Message};
///
/// let store = MessageStore::new();
/// let bus = CommandBus::new();
/// bus.handle("PlaceOrder", |command: &Message<'_>| {
///     Ok::<_, InvalidMessage>(Batch::new().add("order-7", Message::event("Placed", command.payload().to_vec())?))
/// })?;
/// let command = Message::builder("PlaceOrder").payload("three apples").request_id("request-1").build()?;
/// block_on(bus.dispatch(&store, &command))?;
/// let placed = iterate(store.read(Select::stream("order-7"))).next().unwrap()?;
/// assert_eq!((placed.request_id(), placed.payload()), (Some("request-1"), &b"three apples"[..]));
///
/// let unknown = block_on(bus.dispatch(&store, &Message::command("Dance", "")?)).unwrap_err();
/// assert_eq!(unknown.to_string(), r#"no handler for command "Dance""#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CommandBus {
    handlers: CopyOnWrite<Handlers>,
}

type Handlers = HashMap<Box<str>, Handler>;
type Handler = StdArc<dyn Fn(&Message<'_>) -> Result<Batch<'static>, BackendError> + Send + Sync>;

/// The command has a handler already.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("command {name:?} has a handler already")]
#[non_exhaustive]
pub struct AlreadyHandled {
    /// Which command.
    pub name: Box<str>,
}

/// A command that was not carried out. Nothing was saved, unless the backend says otherwise.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DispatchError {
    /// Nobody handles commands of this name.
    #[error("no handler for command {name:?}")]
    #[non_exhaustive]
    Unknown {
        /// Its name.
        name: Box<str>,
    },
    /// The handler refused.
    #[error("the handler of command {name:?} failed: {source}")]
    #[non_exhaustive]
    Failed {
        /// The command's name.
        name: Box<str>,
        /// Why.
        source: BackendError,
    },
    /// What the handler answered was not saved.
    #[error("what command {name:?} led to was not saved: {source}")]
    #[non_exhaustive]
    NotSaved {
        /// The command's name.
        name: Box<str>,
        /// Why.
        source: AppendFailure,
    },
}

impl CommandBus {
    /// A bus without handlers.
    pub fn new() -> Self {
        Self { handlers: CopyOnWrite::new() }
    }

    /// Gives a command its handler, for as long as the bus lives. Lock-free.
    ///
    /// A handler runs on whatever thread dispatches, by several at once when several do. A panic in it reaches the dispatcher;
    /// then nothing was saved.
    ///
    /// # Errors
    /// [`AlreadyHandled`] when it has one. Of two that try at once one gets this.
    pub fn handle<E: Into<BackendError>>(
        &self,
        name: &str,
        handler: impl Fn(&Message<'_>) -> Result<Batch<'static>, E> + Send + Sync + 'static,
    ) -> Result<(), AlreadyHandled> {
        let handler: Handler = StdArc::new(move |command: &Message<'_>| handler(command).map_err(Into::into));
        let added = self.handlers.change(|handlers| {
            let mut handlers = handlers.cloned().unwrap_or_default();
            let before = handlers.insert(name.into(), handler.clone());
            before.is_none().then_some(Some(handlers))
        });
        if added { Ok(()) } else { Err(AlreadyHandled { name: name.into() }) }
    }

    /// Whether a command has a handler. Wait-free.
    pub fn handles(&self, name: &str) -> bool {
        self.handlers.load().get().is_some_and(|handlers| handlers.contains_key(name))
    }

    /// Calls the command's handler, and saves what it answers. The command itself is not saved.
    ///
    /// # Errors
    /// [`DispatchError`].
    pub async fn dispatch<S: EventStore>(
        &self,
        store: &MessageStore<S>,
        command: &Message<'_>,
    ) -> Result<BatchAppended, DispatchError> {
        let batch = self.answer(command)?;
        store.save_batch(batch).await.map_err(|refused| not_saved(command, refused.error))
    }

    /// As [`dispatch`](Self::dispatch), in a session.
    ///
    /// # Errors
    /// [`DispatchError`].
    pub async fn dispatch_in<S: EventStore>(
        &self,
        session: &Session<S>,
        command: &Message<'_>,
    ) -> Result<BatchAppended, DispatchError> {
        let batch = self.answer(command)?;
        session.save_batch(batch).await.map_err(|refused| not_saved(command, refused.error))
    }

    fn answer(&self, command: &Message<'_>) -> Result<Batch<'static>, DispatchError> {
        let name = command.name();
        let handler = self.handlers.load().get().and_then(|handlers| handlers.get(name).cloned());
        let Some(handler) = handler else { return Err(DispatchError::Unknown { name: name.into() }) };
        let answer = handler(command);
        let mut batch = answer.map_err(|source| DispatchError::Failed { name: name.into(), source })?;
        batch.messages_mut().for_each(|message| message.inherit(command));
        Ok(batch)
    }
}

impl Default for CommandBus {
    fn default() -> Self {
        Self::new()
    }
}

fn not_saved(command: &Message<'_>, source: AppendFailure) -> DispatchError {
    DispatchError::NotSaved { name: command.name().into(), source }
}

impl fmt::Debug for CommandBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.handlers.load();
        let mut names: Vec<_> = loaded.get().into_iter().flat_map(HashMap::keys).collect();
        names.sort_unstable();
        f.debug_struct("CommandBus").field("handles", &names).finish()
    }
}
