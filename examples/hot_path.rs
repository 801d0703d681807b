//! The hot path: a stream handle, an appender of one's own, and an observer that is called before `append` returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::{Envelope, Log, Message, Name};

const TICK: Name = Name::from_static("Tick");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = Log::builder().no_clock().build()?;
    let ticks = log.stream("ticks")?;
    let sum = Arc::new(AtomicU64::new(0));

    // Observers are called by whoever appends, several at once when several append.
    let total = sum.clone();
    let adds = ticks.observe(move |envelope: &Envelope| {
        let price = u64::from_le_bytes(envelope.payload().try_into()?);
        total.fetch_add(price, Ordering::Relaxed);
        Ok::<(), std::array::TryFromSliceError>(())
    })?;

    let mut appender = log.appender();
    for price in 0..100_000u64 {
        let appended = appender.append(&ticks, Message::event(TICK, &price.to_le_bytes())?)?;
        assert!(appended.failures.is_empty());
    }
    assert_eq!(sum.load(Ordering::Relaxed), (0..100_000).sum::<u64>());
    adds.close();
    println!("{} ticks, the sum of their prices is {}", log.end(), sum.load(Ordering::Relaxed));
    Ok(())
}
