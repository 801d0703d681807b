//! An ordered subscriber that answers what it gets: it appends from within its handler. Two threads append; the subscriber
//! sees one order, and its answers come after what they answer.

use std::sync::{Arc, Mutex};
use std::thread;

use annals::{Envelope, Log, Message};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = Log::new();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();

    // Holding the log inside its own handler is fine: the subscription below ends both.
    let (answers, order) = (log.clone(), seen.clone());
    let waiter = log.feed().named("waiter").subscribe(move |envelope: &Envelope| {
        order.lock().unwrap().push(format!("{} {}", envelope.position(), envelope.name()));
        if envelope.name() == "Ordered" {
            answers.append(envelope.stream(), Message::event("Served", "")?)?;
        }
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    })?;

    thread::scope(|scope| {
        for table in ["table-1", "table-2"] {
            let log = &log;
            scope.spawn(move || {
                for _ in 0..3 {
                    // When this returns, the order has been seen, and the answer, too.
                    log.append(table, Message::event("Ordered", "").unwrap()).unwrap();
                    assert_eq!(log.read_stream(table).last(1).iter().next().unwrap().name(), "Served");
                }
            });
        }
    });
    waiter.close();

    let seen = seen.lock().unwrap();
    seen.iter().for_each(|line| println!("{line}"));
    assert_eq!(seen.len(), 12);
    Ok(())
}
