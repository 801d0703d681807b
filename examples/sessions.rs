//! Sessions: who is connected stamps what is saved, from any number of threads. `cargo run --example sessions`.

use std::thread;

use annals::store::{Filter, MessageStore, block_on, iterate};
use annals::{Message, MessageBuilder};

fn message(name: &'static str) -> MessageBuilder<'static> {
    Message::builder(name)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = MessageStore::new();

    // A session for each who is connected: its handle stamps what is saved through it.
    let (anna, ben) = (store.open_session("anna")?, store.open_session("ben")?);
    thread::scope(|scope| {
        for session in [&anna, &ben, &anna, &ben] {
            scope.spawn(move || {
                for _ in 0..100 {
                    let placed = message("OrderPlaced").build().expect("a name");
                    block_on(session.save("orders", placed)).expect("an open session");
                }
            });
        }
    });
    ben.end();

    // The store-wide session stamps whatever is saved without a handle; without one it is `no-session`.
    store.begin_session("night-shift")?;
    block_on(store.save("orders", message("OrderPaid").build()?))?;
    store.end_session("night-shift");
    block_on(store.save("orders", message("OrderSent").build()?))?;

    for session in block_on(store.sessions())? {
        let state = if session.ended.is_some() { "ended" } else { "open" };
        println!("{:12} {state:5} {:4} messages, {} events", session.id, session.messages, session.events);
    }
    let last: Vec<_> = iterate(store.session_messages("anna", &Filter::new().count(2))).collect::<Result<_, _>>()?;
    println!("anna's last two: revisions {} and {}", last[0].revision(), last[1].revision());
    let nobodys = iterate(store.read_all(&Filter::new().session("no-session"))).count();
    println!("{nobodys} message without a session");
    Ok(())
}
