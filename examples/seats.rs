//! Eight threads race for one seat, and exactly one gets it: `cargo run --example seats`. Nobody locks or reserves anything:
//! each saves under the condition that nobody has taken the seat yet.

use std::thread;

use annals::store::{AppendFailure, MessageStore, block_on};
use annals::{Condition, Message, Query};

/// Whether the seat is ours. If not, the refusal says which message was there first.
fn book(store: &MessageStore, traveller: u32, seat: &str) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let tag = format!("seat:{seat}");
    let free = Condition::none(Query::tag(&tag)?);
    let taken = Message::builder("SeatTaken").tag(tag).payload(format!("traveller {traveller}")).build()?;
    match block_on(store.save_with(&format!("booking-{traveller}"), taken, &free)) {
        Ok(saved) => {
            println!("traveller {traveller} has seat {seat}: position {}", saved.position);
            Ok(true)
        }
        Err(refused) => match refused.error {
            AppendFailure::ConditionFailed(taken) => {
                println!("traveller {traveller} is late: taken at position {}", taken.position);
                Ok(false)
            }
            other => Err(other.into()),
        },
    }
}

fn main() {
    let store = MessageStore::new();
    let won: usize = thread::scope(|scope| {
        let travellers: Vec<_> = (1..=8).map(|n| (n, &store)).collect();
        let racing: Vec<_> =
            travellers.into_iter().map(|(n, store)| scope.spawn(move || book(store, n, "12A"))).collect();
        racing.into_iter().map(|one| usize::from(one.join().expect("no panic").expect("no other refusal"))).sum()
    });
    assert_eq!(won, 1);
    println!("{won} of 8 has the seat");
}
