//! The same in a runtime: a follower is a `Stream`, and any runtime will do.

use std::time::Duration;

use annals::{Followed, Log, Message, Query};
use futures_util::StreamExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = Log::new();
    let mut paid = log.feed().matching(Query::name("Paid")?).follow();

    let consumer = tokio::spawn(async move {
        let mut count = 0;
        while let Some(item) = paid.next().await {
            if let Followed::Envelope(envelope) = item {
                println!("{} was paid, at position {}", envelope.stream(), envelope.position());
                count += 1;
            }
        }
        // The checkpoint: everything up to here was met, selected or not. `feed().after(it)` goes on from there.
        (count, paid.position())
    });

    for order in ["order-1", "order-2", "order-3"] {
        log.append(order, Message::event("Placed", "")?)?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        log.append(order, Message::event("Paid", "")?)?;
    }
    log.append("order-4", Message::event("Placed", "")?)?;
    log.close();
    let (count, position) = consumer.await?;
    assert_eq!((count, position.get()), (3, 7));
    Ok(())
}
