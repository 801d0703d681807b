//! Events get ids and times from where the application says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals::sourcing::{CREATED_BY, Consistency, Events, Service};
use annals::store::block_on;
use annals::{Expected, Log, Timestamp};

use super::bank::Moved;

fn counting(what: &'static str) -> impl Fn() -> String + Send + Sync + 'static {
    let next = AtomicU64::new(1);
    move || format!("{what}-{}", next.fetch_add(1, Ordering::Relaxed))
}

/// Each event has an id and a time of its own; an aggregate that is given none gets one; the caller's wins.
#[test]
fn ids_and_times_are_injected() {
    let ticks = Arc::new(AtomicU64::new(0));
    let tick = ticks.clone();
    let now = move || Timestamp::from_nanos(tick.fetch_add(1, Ordering::Relaxed).cast_signed());
    let events = Events::new("account", counting("event")).aggregate_ids(counting("new")).clock(now);
    let first = events.named("Opened").build().unwrap();
    let second = events.event(&Moved::Deposited(7)).unwrap().aggregate("mine").build().unwrap();
    let third = events.named("Opened").id("own").created_at(Timestamp::from_nanos(99)).build().unwrap();
    let told = [&first, &second, &third].map(|event| {
        (
            event.stream.to_string(),
            event.message.message_id().unwrap().to_owned(),
            event.message.own_time().unwrap().as_nanos(),
        )
    });
    let expected = [("account-new-1", "event-1", 0), ("account-mine", "event-2", 1), ("account-new-2", "own", 99)];
    assert_eq!(told, expected.map(|(stream, id, time)| (stream.to_owned(), id.to_owned(), time)));
    assert_eq!(second.message.name(), "Deposited");
}

/// One clock for all: without an id source of their own, aggregates get theirs from where events do.
#[test]
fn one_source_serves_both() {
    let events = Events::new("account", counting("id"));
    let event = events.named("Opened").build().unwrap();
    assert_eq!((&*event.stream, event.message.message_id()), ("account-id-2", Some("id-1")));
    assert!(event.message.own_time().is_some_and(|time| time > Timestamp::from_nanos(0)), "by the system's clock");
}

/// Who created it, metadata and payload arrive in the store as they were given; the version is the stream's revision.
#[test]
fn what_is_given_arrives() {
    let service = Service::builder(Log::new()).build().unwrap();
    let events = Events::new("account", counting("id"));
    let event = |expected| {
        let event = events.named("Opened").aggregate("7").by("clerk").metadata("ip", "::1").payload("{}");
        event.expected(expected).build().unwrap()
    };
    block_on(service.dispatch(event(Expected::NoStream), Consistency::Strong)).unwrap();
    let stored = service.store().get(1).unwrap();
    assert_eq!((stored.stream(), stored.payload(), stored.message_id()), ("account-7", &b"{}"[..], Some("id-1")));
    assert_eq!(stored.headers().collect::<Vec<_>>(), [(CREATED_BY, "clerk"), ("ip", "::1")]);
    let again = block_on(service.dispatch(event(Expected::NoStream), Consistency::Strong)).unwrap_err();
    assert!(again.to_string().contains(r#"stream "account-7" is at revision 0"#), "{again}");
    block_on(service.dispatch(event(Expected::exactly(0)), Consistency::Strong)).unwrap();
}

/// A part that is not valid is told when the event is built, with the event's name.
#[test]
fn invalid_parts_are_told() {
    let events = Events::new("account", counting("id"));
    let invalid = events.named("Opened").metadata("", "x").build().unwrap_err();
    assert!(invalid.to_string().starts_with(r#"event "Opened" cannot be recorded"#), "{invalid}");
    let unsaid = Moved::Withdrawn { cents: 1, atm: String::new() };
    assert!(events.event(&unsaid).is_err());
}

/// A thousand ids, no two the same, each of version 7, and in order from one millisecond to the next.
#[cfg(feature = "uuid")]
#[test]
fn uuids_are_of_version_seven() {
    let events = Events::uuid_v7("account");
    let ids: Vec<_> =
        (0..1_000).map(|_| events.named("A").build().unwrap().message.message_id().unwrap().to_owned()).collect();
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), 1_000);
    assert!(ids.iter().all(|id| id.len() == 36 && id.as_bytes()[14] == b'7'), "{}", ids[0]);
    assert!(ids.is_sorted_by_key(|id| id[..13].to_owned()), "the milliseconds only grow");
}
