//! Loading and deciding.

use std::cell::Cell;

use annals::sourcing::{Aggregates, At, DecideError, Event, LoadError};
use annals::store::block_on;
use annals::{AppendOptions, Indexes, Log, Message, Position, Revision, Timestamp};
use proptest::prelude::*;

use crate::bank::{Account, Moved, No, close, deposit, withdraw};

fn accounts(log: &Log) -> Aggregates<Account> {
    Aggregates::new(log.clone())
}

fn cents(accounts: &Aggregates<Account>, id: &str) -> u64 {
    block_on(accounts.load(id)).unwrap().state.cents
}

#[test]
fn what_was_decided_is_loaded() {
    let log = Log::new();
    let accounts = accounts(&log);
    let never = block_on(accounts.load("7")).unwrap();
    assert_eq!((never.state, never.revision), (Account::default(), None));
    let decided = block_on(accounts.decide("7", deposit(100))).unwrap();
    assert_eq!((decided.state.cents, decided.revision), (100, Some(Revision::new(0))));
    assert_eq!((decided.position, decided.conflicts, decided.repeated), (Some(Position::new(1)), 0, false));
    let decided = block_on(accounts.decide("7", close)).unwrap();
    assert_eq!((decided.revision, decided.position), (Some(Revision::new(2)), Some(Position::new(3))));
    let loaded = block_on(accounts.load("7")).unwrap();
    assert_eq!((loaded.state, loaded.revision), (decided.state, decided.revision));
    assert_eq!(log.stream_info("account-7").unwrap().messages, 3);
    assert_eq!(cents(&accounts, "8"), 0, "another one");
}

#[test]
fn a_refusal_and_no_events_append_nothing() {
    let log = Log::new();
    let accounts = accounts(&log);
    let refused = block_on(accounts.decide("7", withdraw(1))).unwrap_err();
    assert!(matches!(refused, DecideError::Refused(No::TooLittle(0))));
    assert_eq!(refused.to_string(), "refused: there are 0 cents");
    let nothing = block_on(accounts.decide("7", |_| Ok::<_, No>([]))).unwrap();
    assert_eq!((nothing.position, nothing.revision), (None, None));
    assert_eq!(log.end(), 0);
}

/// One that was faster is folded, and decided on: only what was missed is read.
#[test]
fn who_was_faster_is_folded() {
    let log = Log::new();
    let accounts = accounts(&log);
    block_on(accounts.decide("7", deposit(100))).unwrap();
    let asked = Cell::new(0);
    let decided = block_on(accounts.decide("7", |account: &Account| {
        asked.set(asked.get() + 1);
        if asked.get() <= 2 {
            log.append("account-7", Moved::Deposited(10).message().unwrap()).unwrap();
        }
        withdraw(account.cents)(account)
    }))
    .unwrap();
    assert_eq!((asked.get(), decided.conflicts), (3, 2));
    assert_eq!((decided.state.cents, decided.state.moves), (0, 4));
    let last = Moved::of(&log.get(log.end()).unwrap()).unwrap();
    assert_eq!(last, Some(Moved::Withdrawn { cents: 120, atm: "north".to_owned() }));
}

#[test]
fn there_is_an_end_to_trying() {
    let log = Log::new();
    let accounts = accounts(&log).attempts(3);
    let contended = block_on(accounts.decide("7", |account: &Account| {
        log.append("account-7", Moved::Deposited(10).message().unwrap()).unwrap();
        deposit(1)(account)
    }))
    .unwrap_err();
    let DecideError::Contended { attempts, conflict, .. } = contended else { panic!("{contended}") };
    assert_eq!((attempts, conflict.conflict().unwrap().actual), (3, Some(Revision::new(2))));
}

#[test]
fn an_event_that_cannot_be_recorded_appends_nothing() {
    let log = Log::new();
    let nowhere = || [Moved::Deposited(1), Moved::Withdrawn { cents: 1, atm: String::new() }];
    let refused = block_on(accounts(&log).decide("7", |_| Ok::<_, No>(nowhere()))).unwrap_err();
    assert!(matches!(refused, DecideError::Event(_)), "{refused}");
    assert_eq!(log.end(), 0);
}

/// At a position, a revision, a time: what had happened by then.
#[test]
fn the_past_is_loaded() {
    let log = Log::builder().time_per_append().build().unwrap();
    for n in 1..=5u64 {
        let options = AppendOptions::new().at(Timestamp::from_nanos(10 * n.cast_signed()));
        log.append_with("account-7", Moved::Deposited(n).message().unwrap(), options).unwrap();
        log.append_with("other", Message::event("Painted", "").unwrap(), options).unwrap();
    }
    let accounts = accounts(&log).snapshots(1, 16);
    assert_eq!(cents(&accounts, "7"), 15);
    let at = |at: At| block_on(accounts.load_at("7", at)).unwrap().state.cents;
    for (n, sum) in [(1, 1), (2, 3), (3, 6), (5, 15)] {
        assert_eq!(at(Position::new(2 * n - 1).into()), sum);
        assert_eq!(at(Revision::new(n - 1).into()), sum);
        assert_eq!(at(Timestamp::from_nanos(10 * n.cast_signed() + 9).into()), sum);
    }
    assert_eq!(at(Position::NONE.into()) + at(Timestamp::from_nanos(9).into()), 0);
    assert_eq!(at(Position::MAX.into()), 15);
}

/// A state that lacks events which were removed is no state: told apart from one that nothing has happened to.
#[test]
fn removed_events_are_missed() {
    for snapshots in [0, 16] {
        let log = Log::builder().segment_slots(2).build().unwrap();
        let accounts = accounts(&log).snapshots(1, snapshots);
        for _ in 0..4 {
            block_on(accounts.decide("7", deposit(1))).unwrap();
        }
        let again = accounts.clone().snapshots(1, 0);
        let all_but_the_last = |by: &Aggregates<Account>| block_on(by.load("7"));
        log.truncate_before(4);
        let missed = all_but_the_last(&again).unwrap_err();
        assert!(matches!(missed, LoadError::Removed { .. }));
        assert_eq!(missed.to_string(), r#"stream "account-7" goes on at revision 3, revision 0 was removed"#);
        assert_eq!(all_but_the_last(&accounts).is_ok(), snapshots > 0, "a snapshot has what was removed");
        log.truncate_before(5);
        assert!(matches!(block_on(again.load("7")), Err(LoadError::Removed { .. })));
        assert!(matches!(block_on(again.load_at("7", Revision::new(1))), Err(LoadError::Removed { .. })));
        let refused = block_on(again.decide("7", deposit(1))).unwrap_err();
        assert!(matches!(refused, DecideError::Load(LoadError::Removed { .. })), "{refused}");
        assert_eq!(block_on(accounts.decide("7", deposit(1))).is_ok(), snapshots > 0);
        assert_eq!(cents(&again, "new"), 0);
    }
}

/// A snapshot that lags behind what was removed is not taken for the present.
#[test]
fn an_old_snapshot_does_not_hide_what_was_removed() {
    let log = Log::builder().segment_slots(2).build().unwrap();
    let (one, other) = (accounts(&log).snapshots(1, 16), accounts(&log));
    block_on(one.decide("7", deposit(1))).unwrap();
    block_on(other.decide("7", deposit(1))).unwrap();
    log.truncate_before(3);
    let missed = block_on(one.load("7")).unwrap_err().to_string();
    assert_eq!(missed, r#"stream "account-7" goes on at revision 2, revision 1 was removed"#);
    assert!(block_on(one.decide("7", deposit(1))).is_err());
}

/// A command is decided once, by its key and its aggregate, whatever it would be decided to be now.
#[test]
fn a_key_is_decided_once() {
    for indexes in [Indexes::new(), Indexes::new().message_ids()] {
        let log = Log::builder().indexes(indexes).build().unwrap();
        let accounts = accounts(&log);
        block_on(accounts.decide("7", deposit(100))).unwrap();
        let first = block_on(accounts.decide_once("7", "k", withdraw(60))).unwrap();
        let again = block_on(accounts.decide_once("7", "k", withdraw(60))).unwrap();
        assert_eq!((first.repeated, again.repeated), (false, true));
        assert_eq!((first.position, first.state), (again.position, again.state));
        assert!(block_on(accounts.decide_once("7", "l", withdraw(60))).is_err());
        block_on(accounts.decide_once("7", "l", deposit(1))).unwrap();
        assert!(!block_on(accounts.decide_once("8", "k", deposit(1))).unwrap().repeated, "a key of another aggregate");
        assert_eq!(log.end(), 4);
    }
}

/// Under one key two decide differently at once: one is appended, the other is told so.
#[test]
fn a_key_that_is_decided_meanwhile_is_a_repeat() {
    for other in [deposit(1)(&Account::default()).unwrap(), vec![Moved::Deposited(1), Moved::Deposited(2)]] {
        let log = Log::new();
        let accounts = accounts(&log);
        let slow = block_on(accounts.decide_once("7", "k", |account: &Account| {
            block_on(accounts.decide_once("7", "k", |_| Ok::<_, No>(other.clone()))).unwrap();
            deposit(1)(account)
        }))
        .unwrap();
        assert!(slow.repeated);
        assert_eq!(log.end().get(), other.len() as u64);
        assert_eq!(slow.state.moves, other.len() as u64);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Deposit(u8, u64),
    Withdraw(u8, u64),
    Load(u8),
    LoadAt(u8, u64),
    /// By somebody who has no snapshots.
    Behind(u8, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..4u8, 0..50u64).prop_map(|(id, cents)| Step::Deposit(id, cents)),
        (0..4u8, 0..50u64).prop_map(|(id, cents)| Step::Withdraw(id, cents)),
        (0..4u8).prop_map(Step::Load),
        (0..4u8, 0..12u64).prop_map(|(id, revision)| Step::LoadAt(id, revision)),
        (0..4u8, 0..50u64).prop_map(|(id, cents)| Step::Behind(id, cents)),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Snapshots change no answer: however seldom they are taken, and however few there are.
    #[test]
    fn snapshots_change_nothing(steps in steps(), every in 1..5u64, at_most in 1..4usize) {
        let (with, without) = (Log::new(), Log::new());
        let snapshots = accounts(&with).snapshots(every, at_most);
        let (behind, plain) = (accounts(&with), accounts(&without));
        let told = |result: Result<annals::sourcing::Decided<Account>, DecideError<No>>| {
            result.map(|decided| (decided.state, decided.revision, decided.position)).map_err(|error| error.to_string())
        };
        for step in steps {
            match step {
                Step::Deposit(id, cents) => {
                    let (id, decide) = (id.to_string(), deposit(cents));
                    prop_assert_eq!(told(block_on(snapshots.decide(&id, decide))), told(block_on(plain.decide(&id, decide))));
                }
                Step::Withdraw(id, cents) => {
                    let (id, decide) = (id.to_string(), withdraw(cents));
                    prop_assert_eq!(told(block_on(snapshots.decide(&id, decide))), told(block_on(plain.decide(&id, decide))));
                }
                Step::Behind(id, cents) => {
                    let (id, decide) = (id.to_string(), deposit(cents));
                    prop_assert_eq!(told(block_on(behind.decide(&id, decide))), told(block_on(plain.decide(&id, decide))));
                }
                Step::Load(id) => {
                    let id = id.to_string();
                    prop_assert_eq!(block_on(snapshots.load(&id)).unwrap(), block_on(plain.load(&id)).unwrap());
                }
                Step::LoadAt(id, revision) => {
                    let (id, at) = (id.to_string(), Revision::new(revision));
                    prop_assert_eq!(block_on(snapshots.load_at(&id, at)).unwrap(), block_on(plain.load_at(&id, at)).unwrap());
                }
            }
        }
    }
}
