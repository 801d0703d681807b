//! A consumer on a thread of its own, without a queue and without a runtime: the log is the queue, the follower a place in it.

use std::thread;

use annals::{Followed, Log, Message};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = Log::new();
    log.append("orders", Message::event("Placed", "before")?)?;

    let follower = log.feed().from_beginning().follow();
    let consumer = thread::spawn(move || {
        let mut bytes = 0;
        // Waits for what comes; ends when the log is closed and everything has been read.
        for item in follower {
            match item {
                Followed::Envelope(envelope) => bytes += envelope.payload().len(),
                Followed::CaughtUp(position) => println!("caught up at {position}"),
                Followed::FellBehind { by } => println!("{by} behind"),
                Followed::Truncated { missed } => println!("{missed} are gone"),
                _ => {}
            }
        }
        bytes
    });

    for _ in 0..10_000 {
        log.append("orders", Message::event("Placed", "after")?)?;
    }
    log.close();
    let bytes = consumer.join().expect("the consumer ends");
    assert_eq!(bytes, 6 + 10_000 * 5);
    println!("{bytes} bytes");
    Ok(())
}
