//! What a shop has sold, kept up by every append; and the same, following on another thread.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use annals::sourcing::{Event, Projection, Recorded, projection};
use annals::store::{BackendError, block_on};
use annals::{Envelope, Log, Name, Payload};

struct Sold(String);

impl Event for Sold {
    fn name(&self) -> Name<'static> {
        const { Name::from_static("Sold") }
    }

    fn encode(&self) -> Result<Payload<'_>, BackendError> {
        Ok(self.0.as_bytes().into())
    }

    fn decode(recorded: Recorded<'_>) -> Result<Option<Self>, BackendError> {
        let what = (recorded.name == "Sold").then(|| str::from_utf8(recorded.payload)).transpose()?;
        Ok(what.map(|what| Self(what.to_owned())))
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Sales(BTreeMap<String, u64>);

impl Projection for Sales {
    type Event = Sold;

    fn apply(&mut self, event: &Sold, _: &Envelope) {
        *self.0.entry(event.0.clone()).or_default() += 1;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = Log::new();
    let (sales, projector) = projection::<Sales>();
    let _kept_up = projector.inline(&log)?;
    let (late, mut projector) = projection::<Sales>();
    let follows = {
        let log = log.clone();
        thread::spawn(move || block_on(projector.follow(&log)))
    };
    for n in 0..1_000 {
        log.append("till-1", Sold(["pen", "paper", "ink"][n % 3].to_owned()).message()?)?;
    }
    println!("when the last append has returned: {:?}", sales.state());
    // To read what one has written, where that comes a little later.
    assert!(late.wait_for(log.end(), Duration::from_secs(10)));
    println!("when the follower is there:        {:?}", late.state());
    assert_eq!(sales.at(), late.at());
    log.close();
    follows.join().expect("it does not panic")?;
    Ok(())
}
