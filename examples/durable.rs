//! A log on disk: `cargo run --release --features durable --example durable -- [DIRECTORY]`. Run it again, and it goes on.

use annals::durable::Options;
use annals::{Ack, AppendOptions, Envelope, Log, Message};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let given = std::env::args().nth(1);
    let directory = given.clone().map_or_else(|| std::env::temp_dir().join("annals-example"), Into::into);
    // Files of 8 MiB, and the last 10,000 envelopes in memory: older ones are read from their files.
    let log = Log::builder().open(&directory, Options::new().file_bytes(8 << 20).resident(10_000))?;
    let journal = log.journal().expect("it is on disk");
    println!("log {} ends at {}", journal.id(), log.end());
    if journal.recovered().unclean {
        println!("it was not closed; {} bytes that nobody relied on were cut off", journal.recovered().torn_bytes);
    }

    // Called with what the disk has.
    let printed = log.subscribe(|envelope: &Envelope| println!("{} {}", envelope.position(), envelope.name()))?;
    // Returns when the disk has it.
    let opened = log.append("account-1", Message::event("Opened", "")?)?;
    assert!(log.journal().expect("it is on disk").synced() >= opened.position);
    // Returns when it is in memory; the next sync takes it along.
    log.append_with("account-1", Message::event("Seen", "")?, AppendOptions::new().acknowledge(Ack::Memory).stored())?;
    let synced = log.sync()?;
    assert_eq!(log.journal().expect("it is on disk").synced(), synced);
    printed.close();

    println!("{} envelopes of the account, first to last", log.read_stream("account-1").iter().count());
    drop(log);
    if given.is_none() {
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(())
}
