//! An account: decided on by four threads at once, and never overdrawn.

use std::thread;

use annals::sourcing::{Aggregate, Aggregates, DecideError, Event, Recorded};
use annals::store::{BackendError, block_on};
use annals::{Log, Name, Payload, Revision};

#[derive(Debug)]
enum Moved {
    Deposited(u64),
    Withdrawn(u64),
}

impl Event for Moved {
    fn name(&self) -> Name<'static> {
        match self {
            Self::Deposited(_) => const { Name::from_static("Deposited") },
            Self::Withdrawn(_) => const { Name::from_static("Withdrawn") },
        }
    }

    fn encode(&self) -> Result<Payload<'_>, BackendError> {
        let (Self::Deposited(cents) | Self::Withdrawn(cents)) = self;
        Ok(cents.to_le_bytes().to_vec().into())
    }

    fn decode(recorded: Recorded<'_>) -> Result<Option<Self>, BackendError> {
        let made = match recorded.name {
            "Deposited" => Self::Deposited,
            "Withdrawn" => Self::Withdrawn,
            _ => return Ok(None),
        };
        Ok(Some(made(u64::from_le_bytes(recorded.payload.try_into()?))))
    }
}

#[derive(Clone, Default)]
struct Account {
    cents: u64,
}

impl Aggregate for Account {
    type Event = Moved;
    const CATEGORY: &'static str = "account";

    fn apply(&mut self, event: &Moved) {
        match event {
            Moved::Deposited(cents) => self.cents += cents,
            Moved::Withdrawn(cents) => self.cents -= cents,
        }
    }
}

impl Account {
    fn withdraw(&self, cents: u64) -> Result<[Moved; 1], String> {
        if self.cents < cents { Err(format!("only {} cents", self.cents)) } else { Ok([Moved::Withdrawn(cents)]) }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let accounts = Aggregates::<Account>::new(Log::new()).snapshots(100, 1_000);
    block_on(accounts.decide("7", |_| Ok::<_, String>([Moved::Deposited(1_000)])))?;
    thread::scope(|scope| {
        for name in ["Ada", "Grace", "Alan", "Edsger"] {
            let accounts = &accounts;
            scope.spawn(move || match block_on(accounts.decide("7", |account| account.withdraw(300))) {
                Ok(decided) => println!("{name} leaves {} cents", decided.state.cents),
                Err(DecideError::Refused(reason)) => println!("{name} is refused: {reason}"),
                Err(other) => println!("{name}: {other}"),
            });
        }
    });
    let now = block_on(accounts.load("7"))?;
    let before = block_on(accounts.load_at("7", Revision::FIRST))?;
    println!("{} cents, {} at first", now.state.cents, before.state.cents);
    assert_eq!((now.state.cents, before.state.cents), (100, 1_000));
    Ok(())
}
