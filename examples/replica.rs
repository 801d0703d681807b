//! A price that is kept up to date, though an update is lost: `cargo run --example replica`.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::thread;

use annals::Bus;
use annals::replica::{Replica, Transport, Update};
use annals::store::{block_on, iterate};

/// What the source has: who publishes an update puts it here first.
type Source = Arc<Mutex<Update<String>>>;

/// By whatever transport.
fn publish(source: &Source, to: &impl Transport<String>, sequence: u64, cents: &str, is_lost: bool) {
    let update = Update::new(sequence, cents.to_owned()).schema("1.0");
    *source.lock().unwrap() = update.clone();
    if !is_lost {
        block_on(to.publish("price", update)).expect("the bus refuses nothing");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::new();
    let source: Source = Arc::new(Mutex::new(Update::new(0, "1200".to_owned())));
    let seed = source.lock().unwrap().clone();

    // The gate that every value has to pass; whoever holds the replica reads numbers.
    let price = Replica::builder(|text: &String| text.parse::<u64>()).schema("1.0".parse()?).seed(seed);
    let from = source.clone();
    let refetch = move || {
        let now = from.lock().unwrap().clone();
        async move { Ok(Some(now)) }
    };
    let (price, refetcher) = block_on(price.start_refetching(&bus, "price", refetch))?;

    // Refetches go on on this thread. It ends with the replica.
    let refetching = thread::spawn(move || block_on(refetcher));
    let mut watch = price.watch();
    let watching = thread::spawn(move || {
        for seen in iterate(&mut watch) {
            println!("{:?}: {:?}, sequence {:?}", seen.status, seen.value, seen.sequence);
        }
    });

    publish(&source, &bus, 1, "1210", false);
    publish(&source, &bus, 2, "1220", true);
    publish(&source, &bus, 3, "1230", false);
    block_on(price.when_idle());
    assert_eq!(price.get().as_deref(), Some(&1_230));

    // What is no price stays outside, and so does what is late.
    bus.publish("price", Update::new(4, "a lot".to_owned()));
    bus.publish("price", Update::new(2, "1220".to_owned()));
    block_on(price.when_idle());
    assert_eq!(price.get().as_deref(), Some(&1_230));

    let statistics = price.snapshot().statistics;
    println!("{statistics:?}");
    assert_eq!((statistics.gaps, statistics.parse_errors, statistics.ignored), (1, 1, 1));

    price.dispose();
    watching.join().expect("no watcher panics");
    refetching.join().expect("no refetch panics");
    println!("{} keys have subscribers", bus.key_count());
    Ok(())
}
