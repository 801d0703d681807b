//! Saving in a session: what has no session id gets the session's, and what was stored is counted.
//!
//! What is refused is given back without the stamp, so that it can be saved again elsewhere.

use smallvec::SmallVec;

use super::event_store::{EventStore, RefusedBatch, RefusedMessage};
use super::sessions::{Kinds, Listed};
use crate::log::{AppendOptions, Appended, Batch, BatchAppended};
use crate::model::{Message, Position};

/// Saves a message; one without a session id of its own in `session`.
pub(super) async fn save_one(
    store: &impl EventStore,
    session: &Listed,
    stream: &str,
    message: Message<'_>,
    options: AppendOptions<'_>,
) -> Result<Appended, RefusedMessage> {
    if message.session_id().is_some() {
        return store.append(stream, message, options).await;
    }
    let mut kinds = Kinds::default();
    kinds.add(message.kind());
    let mut message = message;
    message.set_session(Some(session.name()));
    match store.append(stream, message, options).await {
        Ok(appended) => {
            if !appended.repeated {
                session.saved(kinds, appended.position);
            }
            Ok(appended)
        }
        Err(mut refused) => {
            refused.rejected.set_session(None);
            Err(refused)
        }
    }
}

/// Saves a batch; those of its messages that have no session id of their own in `session`.
pub(super) async fn save_all(
    store: &impl EventStore,
    session: &Listed,
    batch: Batch<'_>,
) -> Result<BatchAppended, RefusedBatch> {
    let (mut kinds, mut stamped) = (Kinds::default(), SmallVec::<[usize; 8]>::new());
    let mut batch = batch;
    for (at, message) in batch.messages_mut().enumerate() {
        if message.session_id().is_none() {
            message.set_session(Some(session.name()));
            kinds.add(message.kind());
            stamped.push(at);
        }
    }
    match store.append_batch(batch).await {
        Ok(appended) => {
            if let Some(at) = stamped.last().filter(|_| !appended.repeated) {
                session.saved(kinds, Position::new(appended.first.get() + *at as u64));
            }
            Ok(appended)
        }
        Err(mut refused) => {
            let mut stamped = stamped.into_iter().peekable();
            for (at, message) in refused.rejected.messages_mut().enumerate() {
                if stamped.next_if_eq(&at).is_some() {
                    message.set_session(None);
                }
            }
            Err(refused)
        }
    }
}
