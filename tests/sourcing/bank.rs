//! An account, as applications have them.

use std::borrow::Cow;

use annals::sourcing::{Aggregate, Event, Recorded};
use annals::store::BackendError;
use annals::{Name, Payload};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    Deposited(u64),
    Withdrawn { cents: u64, atm: String },
    Closed,
}

impl Event for Moved {
    fn name(&self) -> Name<'static> {
        Name::from_static(match self {
            Self::Deposited(_) => "Deposited",
            Self::Withdrawn { .. } => "Withdrawn",
            Self::Closed => "Closed",
        })
    }

    /// Withdrawals had no place once.
    fn schema(&self) -> u32 {
        if matches!(self, Self::Withdrawn { .. }) { 2 } else { 1 }
    }

    fn tags(&self) -> Vec<Cow<'_, str>> {
        match self {
            Self::Withdrawn { atm, .. } => vec![format!("atm:{atm}").into()],
            _ => Vec::new(),
        }
    }

    fn encode(&self) -> Result<Payload<'_>, BackendError> {
        Ok(match self {
            Self::Deposited(cents) => cents.to_le_bytes().to_vec().into(),
            Self::Withdrawn { atm, .. } if atm.is_empty() => return Err("every machine has a name".into()),
            Self::Withdrawn { cents, atm } => [&cents.to_le_bytes(), atm.as_bytes()].concat().into(),
            Self::Closed => "".into(),
        })
    }

    fn decode(recorded: Recorded<'_>) -> Result<Option<Self>, BackendError> {
        let number = || recorded.payload.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).ok_or("too short");
        Ok(match (recorded.name, recorded.schema) {
            ("Deposited", _) => Some(Self::Deposited(number()?)),
            ("Withdrawn", 1) => Some(Self::Withdrawn { cents: number()?, atm: "unknown".to_owned() }),
            ("Withdrawn", _) => {
                Some(Self::Withdrawn { cents: number()?, atm: str::from_utf8(&recorded.payload[8..])?.to_owned() })
            }
            ("Closed", _) => Some(Self::Closed),
            _ => None,
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub cents: u64,
    pub closed: bool,
    /// How many events there were.
    pub moves: u64,
}

impl Aggregate for Account {
    type Event = Moved;
    const CATEGORY: &'static str = "account";

    fn apply(&mut self, event: &Moved) {
        self.moves += 1;
        match event {
            Moved::Deposited(cents) => self.cents += cents,
            Moved::Withdrawn { cents, .. } => self.cents -= cents,
            Moved::Closed => self.closed = true,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum No {
    #[error("there are {0} cents")]
    TooLittle(u64),
    #[error("the account is closed")]
    Closed,
}

pub fn deposit(cents: u64) -> impl Fn(&Account) -> Result<Vec<Moved>, No> + Copy {
    move |account| if account.closed { Err(No::Closed) } else { Ok(vec![Moved::Deposited(cents)]) }
}

pub fn withdraw(cents: u64) -> impl Fn(&Account) -> Result<Vec<Moved>, No> + Copy {
    move |account| match account {
        Account { closed: true, .. } => Err(No::Closed),
        Account { cents: there, .. } if *there < cents => Err(No::TooLittle(*there)),
        _ => Ok(vec![Moved::Withdrawn { cents, atm: "north".to_owned() }]),
    }
}

/// Everything is paid out first. Never refused; a decision as the others are.
#[allow(clippy::unnecessary_wraps, reason = "a decision")]
pub fn close(account: &Account) -> Result<Vec<Moved>, No> {
    let mut events = Vec::new();
    if account.closed {
        return Ok(events);
    }
    if account.cents > 0 {
        events.push(Moved::Withdrawn { cents: account.cents, atm: "desk".to_owned() });
    }
    events.push(Moved::Closed);
    Ok(events)
}
