//! Going through what a store reads.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_core::Stream;

use crate::log::Envelope;
use crate::store::ReadFailure;

/// Visits each envelope of a read, until one cannot be read, or the visitor has enough.
pub(super) async fn each<E: From<ReadFailure>>(
    mut read: impl Stream<Item = Result<Envelope, ReadFailure>> + Unpin,
    mut visit: impl FnMut(&Envelope) -> Result<(), E>,
) -> Result<(), E> {
    poll_fn(|context| {
        loop {
            match Pin::new(&mut read).poll_next(context) {
                Poll::Ready(Some(Ok(envelope))) => visit(&envelope)?,
                Poll::Ready(Some(Err(failure))) => return Poll::Ready(Err(failure.into())),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// The only envelope of a read, or its last.
pub(super) async fn one(
    read: impl Stream<Item = Result<Envelope, ReadFailure>> + Unpin,
) -> Result<Option<Envelope>, ReadFailure> {
    let mut found = None;
    each(read, |envelope| {
        found = Some(envelope.clone());
        Ok::<_, ReadFailure>(())
    })
    .await?;
    Ok(found)
}
