//! What following promises.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use super::at_once::all;
use super::{Found, Run, append, append_all, append_batch, holds, message, next, same};
use crate::delivery::Followed;
use crate::log::Batch;
use crate::model::{Position, Query};
use crate::store::{Capability, EventStore, Follow, ReadFailure};

pub(super) async fn clauses<S: EventStore, F: AsyncFn() -> S>(run: &mut Run<F>) {
    run.clause("following tells the past, then what comes, each once and in order", past_and_present).await;
    run.clause("following from now on begins with the call", from_now).await;
    run.clause("following goes on after a position", after).await;
    run.clause("a stream is followed before it is written", stream).await;
    run.clause("following selects by a query", matching).await;
    run.clause("who waits is woken by an append", woken).await;
    run.clause("following ends when the store is closed", ends).await;
    run.clause_if(&[Capability::Truncation], "what was removed before it was met is told", truncated).await;
}

/// The names of the next `count` envelopes.
async fn met(
    following: &mut (impl Stream<Item = Result<Followed, ReadFailure>> + Unpin),
    count: usize,
) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    while names.len() < count {
        match next(following).await {
            Some(Ok(Followed::Envelope(envelope))) => names.push(envelope.name().to_owned()),
            Some(Ok(_)) => {}
            Some(Err(failure)) => return Err(failure.to_string()),
            None => return Err(format!("it ended after {names:?}")),
        }
    }
    Ok(names)
}

/// Whether there is nothing more now.
fn is_idle(following: &mut (impl Stream<Item = Result<Followed, ReadFailure>> + Unpin)) -> Found {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match Pin::new(&mut *following).poll_next(&mut context) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Some(Ok(Followed::Envelope(envelope)))) => {
                return Err(format!("{} was met, and nothing should be", envelope.name()));
            }
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(failure))) => return Err(failure.to_string()),
            Poll::Ready(None) => return Err("it ended".into()),
        }
    }
}

fn texts<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(String::from).to_vec()
}

async fn past_and_present<S: EventStore>(store: S) -> Found {
    append_all(&store, &[("a", "One"), ("b", "Two")]).await?;
    let mut following = store.follow(Follow::all().after(Position::NONE));
    same("the past", met(&mut following, 1).await?, texts(["One"]))?;
    append_batch(&store, Batch::new().add("b", message("Three")).add("b", message("Four"))).await?;
    same("the rest", met(&mut following, 3).await?, texts(["Two", "Three", "Four"]))?;
    is_idle(&mut following)?;
    append(&store, "a", "Five").await?;
    same("what comes", met(&mut following, 1).await?, texts(["Five"]))?;
    is_idle(&mut following)
}

async fn from_now<S: EventStore>(store: S) -> Found {
    append(&store, "a", "Past").await?;
    let (mut following, mut of_stream) = (store.follow(Follow::all()), store.follow(Follow::stream("a")));
    append_all(&store, &[("b", "Other"), ("a", "New")]).await?;
    same("what is met", met(&mut following, 2).await?, texts(["Other", "New"]))?;
    same("what is met of the stream", met(&mut of_stream, 1).await?, texts(["New"]))?;
    is_idle(&mut following)
}

async fn after<S: EventStore>(store: S) -> Found {
    append_all(&store, &[("a", "One"), ("b", "Two")]).await?;
    let position = append(&store, "a", "Three").await?.position;
    append_all(&store, &[("b", "Four"), ("a", "Five")]).await?;
    let mut following = store.follow(Follow::all().after(position));
    same("what is met", met(&mut following, 2).await?, texts(["Four", "Five"]))?;
    let mut of_stream = store.follow(Follow::stream("a").after(position));
    same("what is met of the stream", met(&mut of_stream, 1).await?, texts(["Five"]))?;
    is_idle(&mut following)?;
    is_idle(&mut of_stream)
}

async fn stream<S: EventStore>(store: S) -> Found {
    let mut following = store.follow(Follow::stream("a").after(Position::NONE));
    is_idle(&mut following)?;
    same("the streams", store.streams().await.map_err(|failure| failure.to_string())?, vec![])?;
    append_all(&store, &[("b", "Other"), ("a", "One"), ("b", "Other"), ("a", "Two")]).await?;
    same("what is met", met(&mut following, 2).await?, texts(["One", "Two"]))?;
    is_idle(&mut following)
}

async fn matching<S: EventStore>(store: S) -> Found {
    let query = Query::name("Wanted").map_err(|invalid| invalid.to_string())?;
    append_all(&store, &[("a", "Other"), ("a", "Wanted")]).await?;
    let mut following = store.follow(Follow::all().after(Position::NONE).matching(query));
    append_all(&store, &[("a", "Other"), ("b", "Wanted"), ("b", "Other")]).await?;
    same("what is met", met(&mut following, 2).await?, texts(["Wanted", "Wanted"]))?;
    is_idle(&mut following)
}

async fn woken<S: EventStore>(store: S) -> Found {
    let mut following = store.follow(Follow::all());
    is_idle(&mut following)?;
    let mut waited = false;
    // The follower waits first; the append is made in the same task, after that.
    let waiting = poll_fn(|context| {
        loop {
            match Pin::new(&mut following).poll_next(context) {
                Poll::Ready(Some(Ok(Followed::Envelope(_)))) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(failure))) => return Poll::Ready(Err(failure.to_string())),
                Poll::Ready(None) => return Poll::Ready(Err("it ended".into())),
                Poll::Pending => {
                    waited = true;
                    return Poll::Pending;
                }
            }
        }
    });
    let appending = async { append(&store, "a", "M").await.map(drop) };
    let waiting: Pin<Box<dyn Future<Output = Found> + '_>> = Box::pin(waiting);
    let appending: Pin<Box<dyn Future<Output = Found> + '_>> = Box::pin(appending);
    for found in all([waiting, appending]).await {
        found?;
    }
    holds("it did not wait", waited)
}

async fn ends<S: EventStore>(store: S) -> Found {
    append(&store, "a", "Past").await?;
    let mut following = store.follow(Follow::all().after(Position::NONE));
    let mut of_stream = store.follow(Follow::stream("a").after(Position::NONE));
    store.close().await;
    same("what is met", met(&mut following, 1).await?, texts(["Past"]))?;
    same("what is met of the stream", met(&mut of_stream, 1).await?, texts(["Past"]))?;
    for rest in [met(&mut following, 1).await, met(&mut of_stream, 1).await] {
        same("whether it ended", rest.is_err(), true)?;
    }
    Ok(())
}

async fn truncated<S: EventStore>(store: S) -> Found {
    append_all(&store, &[("a", "One"), ("a", "Two")]).await?;
    let mut following = store.follow(Follow::all().after(Position::NONE));
    let third = append(&store, "a", "Three").await?.position;
    store.truncate_before(third).await.map_err(|failure| failure.to_string())?;
    let mut told = 0;
    loop {
        match next(&mut following).await {
            Some(Ok(Followed::Truncated { missed })) => told += missed,
            Some(Ok(Followed::Envelope(envelope))) => {
                same("the first that is met", envelope.name(), "Three")?;
                break;
            }
            Some(Ok(_)) => {}
            Some(Err(failure)) => return Err(failure.to_string()),
            None => return Err("it ended".into()),
        }
    }
    holds(&format!("{told} were told as removed, should be 2"), told == 2)
}
