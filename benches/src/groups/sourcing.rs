//! State from events: folding a stream, and deciding on it.

use std::collections::HashMap;
use std::hint::black_box;

use annals::sourcing::{Aggregate, Aggregates, Event, Recorded};
use annals::store::{BackendError, block_on};
use annals::{Expected, Log, Name, Payload};
use parking_lot::RwLock;

use crate::measure::{Group, MakeGroup, Sample, time};

/// Events of the stream that is folded, and of the one that is decided on.
const MANY: u64 = 100_000;
const FEW: u64 = 100;
/// Decisions of one run: the stream is made anew for each, so that it stays short.
const DECISIONS: u64 = 20;

pub const ALL: [MakeGroup; 2] = [fold, decide];

#[derive(Clone, Copy)]
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
    #[allow(clippy::unnecessary_wraps, reason = "a decision")]
    fn withdraw(&self) -> Result<[Moved; 1], &'static str> {
        if self.cents == 0 { Err("there is nothing") } else { Ok([Moved::Withdrawn(1)]) }
    }
}

fn moved(n: u64) -> Moved {
    if n.is_multiple_of(2) { Moved::Deposited(3) } else { Moved::Withdrawn(1) }
}

fn filled(events: u64) -> Log {
    let log = Log::new();
    for n in 0..events {
        log.append("account-7", moved(n).message().expect("it can be said")).expect("nothing is in the way");
    }
    log
}

/// The same by hand: events as they are, in a map of streams under a lock, that is held.
type ByHand = RwLock<HashMap<String, Vec<Moved>, ahash::RandomState>>;

fn filled_by_hand(events: u64) -> ByHand {
    let mut streams = HashMap::default();
    streams.insert("account-7".to_owned(), (0..events).map(moved).collect());
    RwLock::new(streams)
}

fn folded(events: &[Moved]) -> Account {
    let mut account = Account::default();
    for event in events {
        account.apply(event);
    }
    account
}

fn load(aggregates: &Aggregates<Account>) -> Account {
    block_on(aggregates.load(black_box("7"))).expect("it can be read").state
}

pub fn fold() -> Group {
    let (aggregates, by_hand) = (Aggregates::<Account>::new(filled(MANY)), filled_by_hand(MANY));
    let log = aggregates.store().clone();
    let passes = |mut pass: Box<dyn FnMut() -> u64>| {
        move |ops: u64| {
            time(|| {
                for _ in 0..ops.div_ceil(MANY) {
                    black_box(pass());
                }
            })
        }
    };
    Group::new("fold a stream of 100,000, an event", MANY)
        .ours("annals, load", passes(Box::new(move || load(&aggregates).cents)))
        .rival(
            "annals, cursor and match",
            passes(Box::new(move || {
                let (mut cursor, mut cents) = (log.read_stream("account-7").cursor(), 0);
                while let Some(envelope) = cursor.next() {
                    let moved = u64::from_le_bytes(envelope.payload().try_into().expect("eight bytes"));
                    if envelope.name() == "Deposited" { cents += moved } else { cents -= moved }
                }
                cents
            })),
        )
        .rival(
            "by hand, a Vec of events under its lock",
            passes(Box::new(move || folded(&by_hand.read()[black_box("account-7")]).cents)),
        )
}

/// So many decisions on a stream of a hundred, made before.
fn decisions<S>(make: impl Fn() -> S, decide: impl Fn(&S)) -> impl FnMut(u64) -> Sample {
    move |ops| {
        let made = make();
        decide(&made);
        time(|| (0..ops).for_each(|_| decide(&made)))
    }
}

pub fn decide() -> Group {
    let on = |aggregates: &Aggregates<Account>| {
        black_box(block_on(aggregates.decide(black_box("7"), Account::withdraw)).expect("there is enough").state.cents);
    };
    Group::new("decide on an account of 100 events", DECISIONS)
        .ours("annals, decide", decisions(|| Aggregates::new(filled(FEW)), on))
        .rival("annals, decide, snapshots", decisions(|| Aggregates::new(filled(FEW)).snapshots(1, 64), on))
        .rival(
            "annals, append and fold by hand",
            decisions(
                || filled(FEW).stream("account-7").expect("the name is valid"),
                |stream| {
                    let (mut cursor, mut account, mut last) = (stream.read().cursor(), Account::default(), None);
                    while let Some(envelope) = cursor.next() {
                        let moved = u64::from_le_bytes(envelope.payload().try_into().expect("eight bytes"));
                        let event = if envelope.name() == "Deposited" { Moved::Deposited } else { Moved::Withdrawn };
                        account.apply(&event(moved));
                        last = Some(envelope.revision());
                    }
                    let [event] = account.withdraw().expect("there is enough");
                    let expected = last.map_or(Expected::NoStream, Expected::Exactly);
                    let message = event.message().expect("it can be said");
                    black_box(stream.append_with(message, expected).expect("nobody else appends").position);
                },
            ),
        )
        .rival(
            "by hand, a Vec of events under its lock",
            decisions(
                || filled_by_hand(FEW),
                |streams| {
                    let mut streams = streams.write();
                    let events = streams.get_mut(black_box("account-7")).expect("it is there");
                    let [event] = folded(events).withdraw().expect("there is enough");
                    events.push(event);
                },
            ),
        )
}
