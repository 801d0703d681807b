//! A handle to a session.

use std::fmt;

use super::error::{AppendFailure, ReadFailure};
use super::event_store::{EventStore, RefusedBatch, RefusedMessage};
use super::message_store::State;
use super::sessions::{Listed, SessionInfo};
use super::stamped::{save_all, save_one};
use crate::log::{AppendOptions, Appended, Batch, BatchAppended, Log};
use crate::model::Message;
use crate::sync::Arc;

/// A session of a [`MessageStore`](super::MessageStore): what is saved through it has its id, unless a message has a session
/// id of its own, and is counted. Cloning it makes another handle to the same session; any number of threads may save
/// through one. Dropping handles does not end the session.
///
/// ```
/// use annals::store::{Filter, MessageStore, block_on, iterate};
/// use annals::Message;
///
/// let store = MessageStore::new();
/// let session = store.open_session("anna")?;
/// block_on(session.save("orders", Message::event("Placed", "")?))?;
/// assert_eq!(iterate(store.session_messages("anna", &Filter::new())).count(), 1);
/// assert!(session.end() && !session.end());
/// assert!(block_on(session.save("orders", Message::event("Placed", "")?)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Session<S = Log> {
    state: Arc<State<S>>,
    listed: Arc<Listed>,
}

impl<S: EventStore> Session<S> {
    pub(super) fn new(state: Arc<State<S>>, listed: Arc<Listed>) -> Self {
        Self { state, listed }
    }

    pub(super) fn make_current(&self) {
        self.state.sessions.set_current(&self.listed);
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.listed.id()
    }

    /// Saves a message in the session: [`save_with`](Self::save_with) without terms.
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

    /// Saves a message in the session, on terms. As [`MessageStore::save_with`](super::MessageStore::save_with).
    ///
    /// Saved at the same time as the session is ended, it is stored in the session, or refused.
    ///
    /// # Errors
    /// [`AppendFailure`], with the message: `SessionEnded` when it was ended, `Closed` when the store was reset since it was
    /// opened.
    pub async fn save_with<'c>(
        &self,
        stream: &str,
        message: Message<'_>,
        options: impl Into<AppendOptions<'c>>,
    ) -> Result<Appended, RefusedMessage> {
        if let Some(error) = self.refusal() {
            return Err(RefusedMessage { error, rejected: message.into_owned() });
        }
        save_one(&self.state.store, &self.listed, stream, message, options.into()).await
    }

    /// Saves several messages in the session, at one instant or not at all. As
    /// [`MessageStore::save_batch`](super::MessageStore::save_batch).
    ///
    /// # Errors
    /// As [`save_with`](Self::save_with), with the batch.
    pub async fn save_batch(&self, batch: Batch<'_>) -> Result<BatchAppended, RefusedBatch> {
        if let Some(error) = self.refusal() {
            return Err(RefusedBatch { error, rejected: batch.into_owned() });
        }
        save_all(&self.state.store, &self.listed, batch).await
    }

    fn refusal(&self) -> Option<AppendFailure> {
        self.listed.is_ended().then(|| AppendFailure::SessionEnded { id: self.id().into() })
    }

    /// Ends it, for every handle; whether it was open. It stays listed. If it was the store's current session, there is none
    /// then. Lock-free.
    #[allow(clippy::must_use_candidate, reason = "mostly nobody asks")]
    pub fn end(&self) -> bool {
        self.listed.end(self.state.now())
    }

    /// Whether it was ended. Wait-free.
    pub fn is_ended(&self) -> bool {
        self.listed.is_ended()
    }

    /// What is known of it.
    ///
    /// # Errors
    /// [`ReadFailure`], when its last message cannot be read.
    pub async fn info(&self) -> Result<SessionInfo, ReadFailure> {
        self.state.info(&self.listed).await
    }
}

impl<S> Clone for Session<S> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), listed: self.listed.clone() }
    }
}

impl<S> fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.listed.id())
            .field("ended", &self.listed.is_ended())
            .finish_non_exhaustive()
    }
}
