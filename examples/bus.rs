//! Prices by symbol, to whoever asked for them: `cargo run --example bus`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use annals::Bus;

/// A price in cents.
struct Price(u64);

fn main() {
    let bus = Bus::new();

    // Handlers run on the thread that publishes, in subscription order.
    let highest = Arc::new(AtomicU64::new(0));
    let seen = highest.clone();
    let _watch = bus.subscribe("ACME", move |price: &Price| _ = seen.fetch_max(price.0, Ordering::Relaxed));

    // What a handler publishes is delivered after what is being delivered.
    let alerts = bus.key("alerts");
    let _rule = bus.subscribe("ACME", move |price: &Price| {
        if price.0 >= 1_300 {
            alerts.publish(Price(price.0));
        }
    });
    let _print = bus.subscribe("alerts", |price: &Price| println!("alert: ACME at {}", price.0));

    // One that fails stops nobody: the publisher is told.
    let strict = bus.subscribe("ACME", |price: &Price| match price.0 {
        0 => Err("a price of nothing"),
        _ => Ok(()),
    });
    let published = bus.publish("ACME", Price(0));
    println!("{} handlers called, of which failed: {:?}", published.delivered(), published.failures());

    // Closed, it is not running and will not be called again.
    strict.close();
    assert!(bus.publish("ACME", Price(0)).failures().is_empty());

    // Any number of threads; a handle looks its key up once.
    thread::scope(|scope| {
        for first in [1_200, 1_250] {
            let acme = bus.key("ACME");
            scope.spawn(move || (first..first + 52).step_by(10).for_each(|price| _ = acme.publish(Price(price))));
        }
    });
    println!("the highest price was {}", highest.load(Ordering::Relaxed));
    println!("{} keys have subscribers", bus.key_count());
}
