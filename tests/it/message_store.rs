//! The message store: every rule of saving and reading, through its public face.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use annals::store::{
    AppendFailure, Filter, Follow, MessageStore, ReadFailure, Select, SessionError, TruncateFailure, block_on, iterate,
};
use annals::{Batch, Envelope, Expected, Kind, Limits, Log, Message, Position, Query, Retention, Revision, Timestamp};

fn event(name: &'static str) -> Message<'static> {
    Message::event(name, "").unwrap()
}

fn command(name: &'static str) -> Message<'static> {
    Message::command(name, "").unwrap()
}

fn save(store: &MessageStore, stream: &str, message: Message<'_>) -> Position {
    block_on(store.save(stream, message)).unwrap().position
}

/// A store whose clock goes on by one at each look.
fn ticking() -> MessageStore {
    let ticks = AtomicI64::new(0);
    let clock = move || Timestamp::from_nanos(ticks.fetch_add(1, Ordering::Relaxed));
    MessageStore::builder().log(Log::builder().clock(clock)).unwrap()
}

fn names(read: impl Iterator<Item = Result<Envelope, ReadFailure>>) -> Vec<String> {
    read.map(|envelope| envelope.unwrap().name().to_owned()).collect()
}

fn all(store: &MessageStore, filter: &Filter) -> Vec<String> {
    names(iterate(store.read_all(filter)))
}

#[test]
fn positions_begin_at_1_and_revisions_at_0() {
    let store = MessageStore::new();
    let first = block_on(store.save("a", event("E"))).unwrap();
    assert_eq!((first.position.get(), first.revision.get()), (1, 0));
    assert_eq!(block_on(store.stream_info("b")).unwrap(), None);
}

#[test]
fn a_batch_has_consecutive_places_and_one_time() {
    let store = ticking();
    save(&store, "a", event("First"));
    let batch = (0..5).fold(Batch::new(), |batch, _| batch.add("a", event("Batch")));
    let saved = block_on(store.save_batch(batch)).unwrap();
    assert_eq!((saved.first.get(), saved.last.get()), (2, 6));
    assert_eq!(saved.revisions.to_vec(), (1..=5).map(Revision::new).collect::<Vec<_>>());
    let read: Vec<_> = iterate(store.read_stream("a", 1, 0)).map(Result::unwrap).collect();
    assert!(read.iter().all(|envelope| envelope.time() == read[0].time()));
    assert_eq!(read.len(), 5);
}

#[test]
fn without_an_expectation_nothing_is_checked() {
    let store = MessageStore::new();
    for revision in 0..3 {
        assert_eq!(block_on(store.save("a", event("E"))).unwrap().revision, revision);
    }
}

/// A stream that is known, by a handle to it, and has never been written, does not exist.
#[test]
fn a_stream_that_is_known_and_empty_passes_as_none() {
    let store = MessageStore::new();
    store.log().unwrap().stream("a").unwrap();
    block_on(store.save_with("a", event("E"), Expected::NoStream)).unwrap();
    assert!(block_on(store.save_with("a", event("E"), Expected::NoStream)).is_err());
}

#[test]
fn the_two_failures_of_an_expectation_are_told_apart() {
    let store = MessageStore::new();
    let absent = block_on(store.save_with("a", event("E"), Expected::exactly(3))).unwrap_err();
    let conflict = absent.error.conflict().unwrap();
    assert_eq!((conflict.expected, conflict.actual), (Expected::exactly(3), None));
    assert_eq!(absent.to_string(), r#"stream "a" does not exist, expected at revision 3"#);
    assert_eq!(block_on(store.streams()).unwrap(), [], "and it was not created");

    save(&store, "a", event("E"));
    let behind = block_on(store.save_with("a", event("E"), Expected::exactly(3))).unwrap_err();
    let conflict = behind.error.conflict().unwrap();
    assert_eq!((&*conflict.stream, conflict.actual, conflict.end.get()), ("a", Some(Revision::new(0)), 1));
    assert_eq!(behind.to_string(), r#"stream "a" is at revision 0, expected at revision 3"#);
}

#[test]
fn a_conflict_hands_over_what_was_missed() {
    let store = MessageStore::new();
    for name in ["Seen", "Missed", "MissedToo"] {
        save(&store, "a", event(name));
    }
    let late = block_on(store.save_with("a", event("Late"), Expected::exactly(0))).unwrap_err();
    assert_eq!(late.rejected.name(), "Late", "the message comes back");
    let missed = late.error.conflict().unwrap().missed();
    assert_eq!(names(iterate(store.read(missed))), ["Missed", "MissedToo"]);
}

#[test]
fn the_messages_own_time_is_kept_beside_the_stores() {
    let store = ticking();
    for own in [900, 100] {
        let message = Message::builder("E").own_time(Timestamp::from_nanos(own)).build().unwrap();
        save(&store, "a", message);
    }
    let read: Vec<_> = iterate(store.read_all(&Filter::new())).map(Result::unwrap).collect();
    let times = |envelope: &Envelope| (envelope.own_time().unwrap().as_nanos(), envelope.time().unwrap().as_nanos());
    assert_eq!(read.iter().map(times).collect::<Vec<_>>(), [(900, 0), (100, 1)]);
    let late = Filter::new().since(Timestamp::from_nanos(1));
    assert_eq!(iterate(store.read_all(&late)).count(), 1, "filters look at the store's");
    assert_eq!(iterate(store.read_all(&late.until(Timestamp::from_nanos(1)))).count(), 1, "and are inclusive");
}

#[test]
fn the_kind_is_inferred_when_the_caller_does_not_say_it() {
    let store = MessageStore::new();
    let asked = |stream| Message::builder("E").request_id("r").infer_kind(stream).build().unwrap();
    for (stream, message) in [
        ("my-commands", Message::inferred("my-commands", "E", "").unwrap()),
        ("events-1", asked("events-1")),
        ("account-1", asked("account-1")),
        ("account-1", Message::inferred("account-1", "E", "").unwrap()),
        ("events-1", Message::builder("E").infer_kind("events-1").kind(Kind::Command).build().unwrap()),
    ] {
        save(&store, stream, message);
    }
    let kinds: Vec<_> = iterate(store.read_all(&Filter::new())).map(|envelope| envelope.unwrap().kind()).collect();
    assert_eq!(kinds, [Kind::Command, Kind::Event, Kind::Command, Kind::Event, Kind::Command]);
}

#[test]
fn an_absent_stream_reads_as_empty() {
    let store = MessageStore::new();
    assert_eq!(iterate(store.read_stream("never", 0, 0)).count(), 0);
    assert_eq!(iterate(store.read_stream("", 0, 0)).count(), 0, "even one that cannot be");
    assert_eq!(all(&store, &Filter::new().stream("never")), [""; 0]);
}

#[test]
fn a_stream_reads_from_a_revision_inclusive() {
    let store = MessageStore::new();
    for name in ["Zero", "One", "Two", "Three"] {
        save(&store, "a", event(name));
        save(&store, "b", event("Other"));
    }
    let read = |from: u64, count| names(iterate(store.read_stream("a", from, count)));
    assert_eq!(read(2, 0), ["Two", "Three"]);
    assert_eq!(read(4, 0), [""; 0], "past the end");
    assert_eq!(read(u64::MAX, 0), [""; 0]);
    assert_eq!(read(1, 2), ["Two", "Three"], "the most recent two, in order");
    assert_eq!(read(3, 9), ["Three"]);
}

#[test]
fn a_count_is_the_most_recent_after_filtering() {
    let store = MessageStore::new();
    for name in ["Odd1", "Even2", "Odd3", "Even4", "Odd5", "Even6"] {
        let parity = name.trim_end_matches(char::is_numeric);
        let message = Message::builder(name).correlation_id(parity).build().unwrap();
        save(&store, "a", message);
    }
    let odd = || Filter::new().correlation("Odd");
    assert_eq!(all(&store, &odd().count(2)), ["Odd3", "Odd5"]);
    assert_eq!(all(&store, &odd().count(0)), ["Odd1", "Odd3", "Odd5"], "none is no bound");
    assert_eq!(all(&store, &odd().count(2).backwards()), ["Odd5", "Odd3"]);
    assert_eq!(all(&store, &odd().first(2)), ["Odd1", "Odd3"]);
    assert_eq!(all(&store, &odd().first(2).backwards()), ["Odd5", "Odd3"]);
    assert_eq!(all(&store, &odd().count(2).first(1)), ["Odd3"]);
}

/// Eight messages that differ in each thing that a filter can ask for.
fn filled() -> MessageStore {
    let store = ticking();
    let messages = [
        ("orders", Kind::Command, "Place", "r1", "c1"),
        ("orders", Kind::Event, "Placed", "r1", "c1"),
        ("stock", Kind::Event, "Reserved", "r1", "c1"),
        ("orders", Kind::Command, "Place", "r2", "c2"),
        ("orders", Kind::Event, "Placed", "r2", "c2"),
        ("stock", Kind::Event, "Reserved", "r3", "c2"),
        ("orders", Kind::Command, "Pay", "r4", "c1"),
        ("orders", Kind::Event, "Paid", "r4", "c1"),
    ];
    for (stream, kind, name, request, correlation) in messages {
        let message = Message::builder(name).kind(kind).request_id(request).correlation_id(correlation);
        save(&store, stream, message.build().unwrap());
    }
    store
}

fn places(store: &MessageStore, filter: &Filter) -> Vec<u64> {
    iterate(store.read_all(filter)).map(|envelope| envelope.unwrap().position().get()).collect()
}

#[test]
fn each_condition_of_a_filter_selects() {
    let store = filled();
    let time = Timestamp::from_nanos;
    let cases: [(Filter, &[u64]); 12] = [
        (Filter::new().kind(Kind::Command), &[1, 4, 7]),
        (Filter::new().names(["Placed", "Paid"]).unwrap(), &[2, 5, 8]),
        (Filter::new().stream("stock"), &[3, 6]),
        (Filter::new().correlation("c2"), &[4, 5, 6]),
        (Filter::new().request("r1"), &[1, 2, 3]),
        (Filter::new().from(6), &[6, 7, 8]),
        (Filter::new().to(2), &[1, 2]),
        (Filter::new().from(3).to(3), &[3]),
        (Filter::new().from(5).to(4), &[]),
        (Filter::new().since(time(6)), &[7, 8]),
        (Filter::new().until(time(0)), &[1]),
        (Filter::new().since(time(2)).until(time(3)), &[3, 4]),
    ];
    for (filter, should) in cases {
        assert_eq!(places(&store, &filter), should, "{filter:?}");
    }
}

#[test]
fn all_conditions_of_a_filter_must_hold() {
    let store = filled();
    let placed = Filter::new().kind(Kind::Event).names(["Placed", "Reserved"]).unwrap().correlation("c2");
    assert_eq!(places(&store, &placed), [5, 6]);
    assert_eq!(places(&store, &placed.clone().stream("orders")), [5]);
    assert_eq!(places(&store, &placed.clone().stream("orders").request("r3")), [0; 0]);
    assert_eq!(places(&store, &placed.request("r3").from(6).since(Timestamp::from_nanos(5))), [6]);
}

#[test]
fn what_is_empty_asks_for_nothing() {
    let store = filled();
    let empty = Filter::new().names([]).unwrap().stream("").session("").correlation("").request("").count(0);
    assert_eq!(places(&store, &empty), (1..=8).collect::<Vec<_>>());
}

#[test]
fn reads_of_commands_and_of_events_override_the_kind() {
    let store = filled();
    let commands = Filter::new().kind(Kind::Command).stream("orders");
    let events = Filter::new().kind(Kind::Event).stream("orders");
    for filter in [commands, events, Filter::new().stream("orders")] {
        assert_eq!(names(iterate(store.read_commands(&filter))), ["Place", "Place", "Pay"]);
        assert_eq!(names(iterate(store.read_events(&filter))), ["Placed", "Placed", "Paid"]);
    }
    assert_eq!(places(&store, &Filter::new().kind(Kind::Event).stream("orders")), [2, 5, 8], "a read of all does not");
}

#[test]
fn stream_info_and_the_list_of_streams() {
    let store = ticking();
    for stream in ["c", "a", "c", "b", "a"] {
        save(&store, stream, event("E"));
    }
    assert_eq!(block_on(store.streams()).unwrap(), ["c", "a", "b"].map(Into::into), "in the order of creation");
    let info = block_on(store.stream_info("a")).unwrap().unwrap();
    assert_eq!((info.revision.get(), info.messages), (1, 2));
    assert_eq!((info.first, info.last), (Some(Position::new(2)), Some(Position::new(5))));
    assert_eq!((info.created_at.unwrap().as_nanos(), info.updated_at.unwrap().as_nanos()), (1, 4));
    assert_eq!(block_on(store.stream_info("never")).unwrap(), None);
}

#[test]
fn statistics_count_everything() {
    let store = MessageStore::new();
    let empty = block_on(store.statistics()).unwrap();
    assert_eq!((empty.messages, empty.streams, empty.sessions, empty.oldest), (0, 0, Some(0), None));
    for (stream, message) in [("a", command("C")), ("b", event("E")), ("a", event("E"))] {
        save(&store, stream, message);
    }
    store.open_session("s").unwrap();
    let known = block_on(store.statistics()).unwrap();
    assert_eq!((known.messages, known.commands, known.events), (3, Some(1), Some(2)));
    assert_eq!((known.streams, known.sessions, known.end.get()), (2, Some(1), 3));
    assert!(known.memory.unwrap() > 0);
    let read: Vec<_> = iterate(store.read_all(&Filter::new())).map(Result::unwrap).collect();
    assert_eq!((known.oldest, known.newest), (read[0].time(), read[2].time()));
}

#[test]
fn a_reset_empties_everything_and_positions_start_again() {
    let store = MessageStore::new();
    let session = store.begin_session("s").unwrap();
    save(&store, "a", event("Before"));
    let held = iterate(store.read_all(&Filter::new())).next().unwrap().unwrap();
    let mut reading = iterate(store.read_all(&Filter::new()));
    let mut following = iterate(store.follow(Follow::all()));

    assert!(block_on(store.reset()));
    assert_eq!(all(&store, &Filter::new()), [""; 0]);
    assert_eq!(block_on(store.streams()).unwrap(), []);
    assert_eq!(block_on(store.sessions()).unwrap(), []);
    assert_eq!(store.current_session(), None);
    let known = block_on(store.statistics()).unwrap();
    assert_eq!((known.messages, known.streams, known.sessions), (0, 0, Some(0)));

    let saved = block_on(store.save_with("a", event("After"), Expected::NoStream)).unwrap();
    assert_eq!((saved.position.get(), saved.revision.get()), (1, 0));
    let late = block_on(session.save("a", event("Late"))).unwrap_err();
    assert!(matches!(late.error, AppendFailure::Closed), "handles to sessions are of the store before");
    assert_eq!(held.name(), "Before", "what was read stays");
    assert_eq!(reading.next().unwrap().unwrap().name(), "Before", "a read that began goes on");
    assert!(following.all(|item| item.unwrap().into_envelope().is_none()), "and whoever follows comes to an end");
}

/// Saves at the same time as resets are in the store before or in the one after, and never refused.
#[test]
fn what_is_saved_during_a_reset_goes_to_one_of_the_two() {
    const SAVES: usize = 2_000;
    let store = MessageStore::new();
    let resets = AtomicUsize::new(0);
    // So many at least, and on until there were some resets.
    let save_on = || {
        let mut saved = 0;
        while saved < SAVES || resets.load(Ordering::Relaxed) < 3 {
            if saved % 2 == 0 {
                save(&store, "a", event("E"));
            } else {
                block_on(store.save_batch(Batch::new().add("a", event("E")))).unwrap();
            }
            saved += 1;
        }
        saved
    };
    let (logs, saved) = thread::scope(|scope| {
        let savers = [scope.spawn(save_on), scope.spawn(save_on)];
        let mut logs = vec![store.log().unwrap()];
        while savers.iter().any(|saver| !saver.is_finished()) {
            assert!(block_on(store.reset()));
            logs.push(store.log().unwrap());
            resets.fetch_add(1, Ordering::Relaxed);
        }
        (logs, savers.map(|saver| saver.join().unwrap()).iter().sum::<usize>())
    });
    let seen: u64 = logs.iter().map(|log| log.end().get()).sum();
    assert_eq!(seen, saved as u64, "every one is in one of {} logs", logs.len());
}

#[test]
fn what_was_disposed_of_says_so() {
    let store = MessageStore::new();
    let session = store.open_session("s").unwrap();
    save(&store, "a", event("E"));
    let (other, log) = (store.clone(), store.log().unwrap());
    block_on(store.dispose());
    block_on(store.dispose());
    let refused = block_on(other.save("a", event("E"))).unwrap_err();
    assert!(matches!(refused.error, AppendFailure::Closed));
    assert_eq!(refused.rejected, event("E"));
    let refused = block_on(other.save_batch(Batch::new().add("a", event("E")))).unwrap_err();
    assert!(matches!(refused.error, AppendFailure::Closed));
    assert!(matches!(block_on(session.save("a", event("E"))).unwrap_err().error, AppendFailure::Closed));
    let mut read = iterate(other.read_all(&Filter::new()));
    assert!(matches!(read.next(), Some(Err(ReadFailure::Closed))));
    assert!(read.next().is_none());
    assert!(matches!(iterate(other.follow(Follow::all())).next(), Some(Err(ReadFailure::Closed))));
    assert!(matches!(block_on(other.statistics()), Err(ReadFailure::Closed)));
    assert!(matches!(block_on(other.streams()), Err(ReadFailure::Closed)));
    assert!(matches!(block_on(other.stream_info("a")), Err(ReadFailure::Closed)));
    assert!(matches!(block_on(other.sessions()), Err(ReadFailure::Closed)));
    assert!(matches!(block_on(other.session("s")), Err(ReadFailure::Closed)));
    assert!(matches!(block_on(other.truncate_before(1)), Err(TruncateFailure::Closed)));
    assert!(matches!(other.open_session("t"), Err(SessionError::Closed)));
    assert!(matches!(other.feed(), Err(ReadFailure::Closed)));
    assert!(!other.end_session("s") && !block_on(other.reset()));
    assert!(log.is_closed(), "and so is what was behind it");
}

/// A fault of old: what the caller changed later changed the store.
#[test]
fn what_is_saved_is_not_shared_with_the_caller() {
    let store = MessageStore::new();
    let mut payload = vec![1; 5_000];
    save(&store, "a", Message::event("E", &payload[..]).unwrap());
    payload.fill(2);
    let read = iterate(store.read_all(&Filter::new())).next().unwrap().unwrap();
    assert!(read.payload().iter().all(|byte| *byte == 1));
}

/// A fault of old: half of a batch with an invalid element was stored, and positions were used up.
#[test]
fn an_invalid_element_of_a_batch_leaves_nothing_of_it() {
    let mut limits = Limits::default();
    limits.payload_bytes = 4;
    let store = MessageStore::builder().log(Log::builder().limits(limits)).unwrap();
    let large = Message::event("Large", "12345").unwrap();
    let refused = block_on(store.save_batch(Batch::new().add("a", event("E")).add("a", large))).unwrap_err();
    assert!(matches!(refused.error, AppendFailure::Limit(_)));
    assert_eq!(refused.rejected.len(), 2);
    let invalid = block_on(store.save_batch(Batch::new().add("a", event("E")).add("", event("E")))).unwrap_err();
    assert!(matches!(invalid.error, AppendFailure::InvalidStream(_)));
    assert_eq!(block_on(store.streams()).unwrap(), []);
    assert_eq!(save(&store, "a", event("E")), 1);
}

/// A fault of old: a read of everything failed when a stream had more than about 125,000 messages.
#[test]
fn a_stream_may_be_long() {
    let store = MessageStore::new();
    let log = store.log().unwrap();
    let (stream, mut appender) = (log.stream("long").unwrap(), log.appender());
    for _ in 0..150_000 {
        appender.append(&stream, event("E")).unwrap();
    }
    let in_order = iterate(store.read_all(&Filter::new())).zip(1..).all(|(it, at)| it.unwrap().position() == at);
    assert!(in_order);
    assert_eq!(iterate(store.read_stream("long", 0, 0)).count(), 150_000);
    assert_eq!(iterate(store.read_stream("long", 149_999, 0)).count(), 1);
}

/// A fault of old: memory without bound. With retention the store keeps what it was told to.
#[test]
fn a_store_may_be_bounded() {
    let mut retention = Retention::default();
    retention.records = Some(1_000);
    let store = MessageStore::builder().log(Log::builder().retention(retention)).unwrap();
    for _ in 0..20_000 {
        save(&store, "a", event("E"));
    }
    let kept = block_on(store.statistics()).unwrap().messages;
    assert!((1_000..3_000).contains(&kept), "{kept} are kept");
    assert_eq!(iterate(store.read_all(&Filter::new())).count() as u64, kept);
}

/// A fault of old: no live subscription. One subscriber that fails does not stop the others.
#[test]
fn a_live_feed_by_correlation_id_and_by_its_prefix() {
    let store = MessageStore::new();
    let counts = [(); 3].map(|_| Arc::new(AtomicUsize::new(0)));
    let watch = |query: Query, count: &Arc<AtomicUsize>| {
        let count = count.clone();
        let observe = move |_: &Envelope| _ = count.fetch_add(1, Ordering::Relaxed);
        store.feed().unwrap().matching(query).observe(observe).unwrap()
    };
    let fails = store.feed().unwrap().observe(|_: &Envelope| -> Result<(), &str> { Err("fails") }).unwrap();
    let panics = store.feed().unwrap().observe(|_: &Envelope| -> () { panic!("on purpose") }).unwrap();
    let watches = [
        watch(Query::correlation("order-7"), &counts[0]),
        watch(Query::correlation_prefix("order-"), &counts[1]),
        watch(Query::all(), &counts[2]),
    ];
    for id in ["order-7", "order-70", "stock-7", "order-7"] {
        let message = Message::builder("E").correlation_id(id).build().unwrap();
        let saved = block_on(store.save("a", message)).unwrap();
        assert_eq!(saved.failures.len(), 2);
    }
    save(&store, "a", event("Without"));
    assert_eq!(counts.map(|count| count.load(Ordering::Relaxed)), [2, 3, 5]);
    for watch in watches.into_iter().chain([fails, panics]) {
        watch.close();
    }
}

#[test]
fn following_begins_anywhere_and_ends_with_the_store() {
    let store = MessageStore::new();
    for name in ["One", "Two"] {
        save(&store, "a", event(name));
    }
    let follower = iterate(store.follow(Follow::stream("a").after(1)));
    let started = Arc::new(Barrier::new(2));
    let waits = started.clone();
    let reader = thread::spawn(move || {
        waits.wait();
        let met = follower.filter_map(|item| item.unwrap().into_envelope());
        met.map(|envelope| envelope.name().to_owned()).collect::<Vec<_>>()
    });
    started.wait();
    save(&store, "b", event("Other"));
    save(&store, "a", event("Three"));
    block_on(store.dispose());
    assert_eq!(reader.join().unwrap(), ["Two", "Three"]);
}

/// The same selection at several ends: reading is time travel.
#[test]
fn the_past_can_be_read() {
    let store = filled();
    let orders = |to: u64| names(iterate(store.read(Select::stream("orders").to(to).backwards().first(1))));
    assert_eq!([2, 3, 4, 8].map(orders), [["Placed"], ["Placed"], ["Place"], ["Paid"]]);
    assert_eq!(orders(0), [""; 0]);
}

/// Streams are counted when they are first written, by whichever thread, once each; one that is only known is not.
#[test]
fn streams_are_counted_once_however_many_write_them_first() {
    let store = MessageStore::new();
    store.log().unwrap().stream("known").unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..200 {
                    let (one, other) = (format!("one-{n}"), format!("other-{n}"));
                    save(&store, &one, event("E"));
                    let batch = Batch::new().add(&one, event("E")).add(&other, event("E"));
                    block_on(store.save_batch(batch)).unwrap();
                }
            });
        }
    });
    assert_eq!(block_on(store.statistics()).unwrap().streams, 400);
    assert_eq!(block_on(store.streams()).unwrap().len(), 400);
}
