//! What was the balance then? A store forgets nothing, so that the past is a question like any other:
//! `cargo run --example time_travel`.

use annals::store::{MessageStore, ReadFailure, Select, block_on, iterate};
use annals::{Expected, Message, Timestamp};

/// The state is the sum of its messages, up to wherever one wants to look.
fn balance(store: &MessageStore, of: Select) -> Result<i64, ReadFailure> {
    iterate(store.read(of)).try_fold(0, |sum, envelope| {
        let envelope = envelope?;
        let amount: i64 = std::str::from_utf8(envelope.payload()).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(if envelope.name() == "Withdrawn" { sum - amount } else { sum + amount })
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = MessageStore::new();
    let account = || Select::stream("account-7");
    for (revision, (name, amount)) in
        [("Deposited", "100"), ("Withdrawn", "30"), ("Deposited", "500"), ("Withdrawn", "70")].into_iter().enumerate()
    {
        let expected = match revision {
            0 => Expected::NoStream,
            next => Expected::exactly(next as u64 - 1),
        };
        block_on(store.save_with("account-7", Message::event(name, amount)?, expected))?;
    }
    println!("now: {}", balance(&store, account())?);

    // At each position, from the first on.
    for position in 1..=4 {
        println!("at position {position}: {}", balance(&store, account().to(position))?);
    }

    // At a time: that of the second message, by the store's clock.
    let second = iterate(store.read(account().from_revision(1).first(1))).next().expect("it was saved")?;
    let then = second.time().expect("the store has a clock");
    println!("when the second was saved: {}", balance(&store, account().until(then))?);
    println!("before the epoch: {}", balance(&store, account().until(Timestamp::from_nanos(0)))?);

    // And backwards: the last withdrawal.
    let withdrawn = account().matching(annals::Query::name("Withdrawn")?).backwards().first(1);
    let last = iterate(store.read(withdrawn)).next().expect("there is one")?;
    println!("the last withdrawal was at position {}", last.position());
    Ok(())
}
