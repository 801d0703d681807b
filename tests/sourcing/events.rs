//! Events as messages, and back.

use annals::sourcing::{Event, Recorded, SCHEMA, given};
use annals::{Log, Message};

use crate::bank::{Account, Moved, No, close, deposit, withdraw};

fn withdrawn() -> Moved {
    Moved::Withdrawn { cents: 7, atm: "north".to_owned() }
}

/// A message has the event's name, payload, tags and, unless it is 1, schema; the envelope gives the event back.
#[test]
fn an_event_is_carried_by_a_message() {
    let log = Log::new();
    for event in [Moved::Deposited(5), withdrawn(), Moved::Closed] {
        let message = event.message().unwrap();
        assert_eq!(message.name(), event.name().as_str());
        log.append("account-1", message).unwrap();
        let envelope = log.get(log.end()).unwrap();
        assert_eq!(Moved::of(&envelope).unwrap(), Some(event));
    }
    let all: Vec<_> = log.read().iter().collect();
    assert_eq!(all[1].tags().collect::<Vec<_>>(), ["atm:north"]);
    assert_eq!(all[1].headers().collect::<Vec<_>>(), [(SCHEMA, "2")]);
    assert_eq!(all[0].headers().count() + all[2].headers().count(), 0, "1 is not written down");
}

/// What was recorded in an older shape is what it would be today; what is of another type is none.
#[test]
fn an_older_shape_is_known_by_its_schema() {
    let old = Recorded { name: "Withdrawn", schema: 1, payload: &7u64.to_le_bytes() };
    assert_eq!(Moved::decode(old).unwrap(), Some(Moved::Withdrawn { cents: 7, atm: "unknown".to_owned() }));
    let log = Log::new();
    log.append("account-1", Message::event("Withdrawn", &7u64.to_le_bytes()).unwrap()).unwrap();
    log.append("account-1", Message::event("Painted", "blue").unwrap()).unwrap();
    let [old, other] = [1, 2].map(|position| Moved::of(&log.get(position).unwrap()).unwrap());
    assert_eq!(old, Some(Moved::Withdrawn { cents: 7, atm: "unknown".to_owned() }));
    assert_eq!(other, None);
}

#[test]
fn what_cannot_be_decoded_or_recorded_says_so() {
    let log = Log::new();
    log.append("account-1", Message::event("Deposited", "short").unwrap()).unwrap();
    let strange = Message::builder("Deposited").payload("12345678").header(SCHEMA, "new").build().unwrap();
    log.append("account-1", strange).unwrap();
    let failures = [1, 2].map(|position| Moved::of(&log.get(position).unwrap()).unwrap_err().to_string());
    let begin = |position| format!(r#"the event "Deposited" at position {position} in stream "account-1""#);
    assert_eq!(failures[0], begin(1) + " cannot be decoded: too short");
    assert_eq!(failures[1], begin(2) + r#" cannot be decoded: its schema is "new", which is no number"#);
    let nowhere = Moved::Withdrawn { cents: 7, atm: String::new() };
    let refused = nowhere.message().unwrap_err().to_string();
    assert_eq!(refused, r#"event "Withdrawn" cannot be recorded: every machine has a name"#);
}

#[test]
fn decisions_are_tested_without_a_store() {
    given::<Account>([]).when(deposit(5)).then([Moved::Deposited(5)]);
    given::<Account>([Moved::Deposited(5)]).when(withdraw(6)).then_refused(&No::TooLittle(5));
    given::<Account>([Moved::Closed]).when(deposit(5)).then_refused(&No::Closed);
    given::<Account>([Moved::Closed]).when(close).then_nothing();
    let account = given::<Account>([Moved::Deposited(5)])
        .when(close)
        .then([Moved::Withdrawn { cents: 5, atm: "desk".to_owned() }, Moved::Closed]);
    assert_eq!(account, Account { cents: 0, closed: true, moves: 3 });
}

/// The kit notices what is wrong.
#[test]
fn a_wrong_expectation_fails() {
    let fails = |test: fn()| std::panic::catch_unwind(test).is_err();
    assert!(fails(|| _ = given::<Account>([]).when(deposit(5)).then([Moved::Deposited(6)])));
    assert!(fails(|| _ = given::<Account>([]).when(deposit(5)).then_nothing()));
    assert!(fails(|| _ = given::<Account>([]).when(withdraw(5)).then([])));
    assert!(fails(|| given::<Account>([]).when(deposit(5)).then_refused(&No::Closed)));
    assert!(fails(|| given::<Account>([]).when(withdraw(5)).then_refused(&No::Closed)));
    assert!(fails(|| {
        let nowhere = || [Moved::Withdrawn { cents: 0, atm: String::new() }];
        _ = given::<Account>([]).when(|_| Ok::<_, No>(nowhere())).then(nowhere());
    }));
}
