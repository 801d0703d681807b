//! Sessions: what they stamp, what they count, when they end.

use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use annals::store::{AppendFailure, Filter, MessageStore, SessionError, SessionInfo, block_on, iterate};
use annals::{AppendOptions, Batch, Expected, InvalidName, Kind, Log, Message, Timestamp};

fn event() -> Message<'static> {
    Message::event("E", "").unwrap()
}

fn save(store: &MessageStore) {
    block_on(store.save("a", event())).unwrap();
}

/// The session of each message, in order.
fn sessions_of(store: &MessageStore) -> Vec<String> {
    let read = iterate(store.read_all(&Filter::new())).map(Result::unwrap);
    read.map(|envelope| envelope.session_id().unwrap_or("no-session").to_owned()).collect()
}

fn listed(store: &MessageStore) -> Vec<SessionInfo> {
    block_on(store.sessions()).unwrap()
}

fn ids(store: &MessageStore) -> Vec<Box<str>> {
    listed(store).into_iter().map(|session| session.id).collect()
}

#[test]
fn the_current_session_stamps_what_is_saved() {
    let store = MessageStore::new();
    assert_eq!(store.current_session(), None);
    save(&store);
    store.begin_session("s").unwrap();
    assert_eq!(store.current_session().as_deref(), Some("s"));
    save(&store);
    block_on(store.save_batch(Batch::new().add("b", event()).add("a", event()))).unwrap();
    store.end_session("s");
    save(&store);
    assert_eq!(sessions_of(&store), ["no-session", "s", "s", "s", "no-session"]);
}

#[test]
fn another_session_replaces_it_and_ending_that_one_restores_nothing() {
    let store = MessageStore::new();
    let first = store.begin_session("first").unwrap();
    store.begin_session("second").unwrap();
    save(&store);
    assert!(!first.is_ended(), "the one replaced is open, and its handle works");
    block_on(first.save("a", event())).unwrap();
    assert!(store.end_session("second"));
    assert_eq!(store.current_session(), None);
    save(&store);
    assert_eq!(sessions_of(&store), ["second", "first", "no-session"]);
}

#[test]
fn ending_the_one_that_was_replaced_leaves_the_current_one() {
    let store = MessageStore::new();
    store.begin_session("first").unwrap();
    store.begin_session("second").unwrap();
    assert!(store.end_session("first"));
    assert_eq!(store.current_session().as_deref(), Some("second"));
}

#[test]
fn ending_what_is_unknown_or_ended_changes_nothing() {
    let store = MessageStore::new();
    store.begin_session("s").unwrap();
    assert!(!store.end_session("unknown"));
    assert_eq!(store.current_session().as_deref(), Some("s"));
    assert!(store.end_session("s"));
    let ended = listed(&store);
    assert!(!store.end_session("s"));
    assert_eq!(listed(&store), ended, "not even when it was ended");
}

#[test]
fn sessions_stay_listed_in_the_order_of_opening() {
    let store = MessageStore::new();
    for id in ["c", "a", "b"] {
        store.open_session(id).unwrap();
    }
    store.end_session("a");
    assert_eq!(ids(&store), ["c", "a", "b"].map(Into::into));
    let ended: Vec<_> = listed(&store).iter().map(|session| session.ended.is_some()).collect();
    assert_eq!(ended, [false, true, false]);
}

#[test]
fn a_session_has_counts_and_times() {
    let ticks = AtomicI64::new(100);
    let sessions = move || Timestamp::from_nanos(ticks.fetch_add(100, Ordering::Relaxed));
    let ticks = AtomicI64::new(1);
    let messages = move || Timestamp::from_nanos(ticks.fetch_add(1, Ordering::Relaxed));
    let store = MessageStore::builder().clock(sessions).log(Log::builder().clock(messages)).unwrap();
    let session = store.open_session("s").unwrap();
    let fresh = block_on(session.info()).unwrap();
    assert_eq!((fresh.messages, fresh.last, fresh.last_activity, fresh.ended), (0, None, None, None));
    assert_eq!(fresh.started.as_nanos(), 100);

    let command = Message::builder("C").kind(Kind::Command).build().unwrap();
    block_on(session.save("a", command.clone())).unwrap();
    block_on(session.save_batch(Batch::new().add("b", event()).add("b", command).add("a", event()))).unwrap();
    block_on(session.save_with("a", event(), Expected::NoStream)).unwrap_err();
    save(&store);
    session.end();
    let info = block_on(store.session("s")).unwrap().unwrap();
    assert_eq!((info.messages, info.commands, info.events), (4, 2, 2), "what was refused is not counted");
    assert_eq!((info.last.unwrap().get(), info.last_activity.unwrap().as_nanos()), (4, 2), "by the store's clock");
    assert_eq!(info.ended.unwrap().as_nanos(), 200, "by the sessions' clock");
    assert_eq!(block_on(store.session("unknown")).unwrap(), None);
    block_on(store.truncate_before(5)).unwrap();
    let info = block_on(store.session("s")).unwrap().unwrap();
    assert_eq!((info.messages, info.last_activity), (4, None), "counts stay, the time goes with the message");
}

/// A fault of old: reading a session's messages returned nothing.
#[test]
fn a_sessions_messages_are_read_with_filter_and_count() {
    let store = MessageStore::new();
    let (one, two) = (store.open_session("one").unwrap(), store.open_session("two").unwrap());
    for n in 0..6 {
        let message = Message::builder(if n % 3 == 0 { "Third" } else { "Other" }).build().unwrap();
        let session = if n % 2 == 0 { &one } else { &two };
        block_on(session.save("a", message)).unwrap();
    }
    save(&store);
    let read = |session, filter: Filter| {
        let read = iterate(store.session_messages(session, &filter)).map(Result::unwrap);
        read.map(|envelope| envelope.position().get()).collect::<Vec<_>>()
    };
    assert_eq!(read("one", Filter::new()), [1, 3, 5]);
    assert_eq!(read("one", Filter::new().count(2)), [3, 5]);
    assert_eq!(read("two", Filter::new().names(["Third"]).unwrap()), [4]);
    assert_eq!(read("two", Filter::new().session("one").from(3)), [4, 6], "whatever session the filter asks for");
    assert_eq!(read("no-session", Filter::new()), [7]);
    assert_eq!(read("unknown", Filter::new()), [0; 0]);
}

#[test]
fn no_session_is_a_session_to_filter_by() {
    let store = MessageStore::new();
    save(&store);
    let session = store.open_session("s").unwrap();
    block_on(session.save("a", event())).unwrap();
    let said = Message::builder("E").session_id("no-session").build().unwrap();
    block_on(store.save("a", said)).unwrap();
    let places =
        |filter: Filter| iterate(store.read_all(&filter)).map(|it| it.unwrap().position().get()).collect::<Vec<_>>();
    assert_eq!(places(Filter::new().session("no-session")), [1, 3], "whether it was said or not");
    assert_eq!(places(Filter::new().session("no-session").names(["Other"]).unwrap()), [0; 0]);
    assert_eq!(places(Filter::new().session("s")), [2]);
}

#[test]
fn a_session_id_of_its_own_is_kept() {
    let store = MessageStore::new();
    let session = store.begin_session("s").unwrap();
    let own = || Message::builder("E").session_id("own").build().unwrap();
    block_on(store.save("a", own())).unwrap();
    block_on(session.save("a", own())).unwrap();
    block_on(session.save_batch(Batch::new().add("a", own()).add("a", event()))).unwrap();
    assert_eq!(sessions_of(&store), ["own", "own", "own", "s"]);
    let info = block_on(session.info()).unwrap();
    assert_eq!((info.messages, info.last.unwrap().get()), (1, 4), "and is not counted");
}

/// What is refused is given back as it was given: without the session's stamp.
#[test]
fn what_is_refused_has_no_stamp() {
    let store = MessageStore::new();
    let session = store.begin_session("s").unwrap();
    let own = || Message::builder("E").session_id("own").tag("t").build().unwrap();
    for message in [event(), own()] {
        let refused = block_on(store.save_with("a", message.clone(), Expected::Exists)).unwrap_err();
        assert_eq!(refused.rejected, message);
        let refused = block_on(session.save_with("a", message.clone(), Expected::Exists)).unwrap_err();
        assert_eq!(refused.rejected, message);
    }
    let batch = Batch::new().add("a", event()).add("a", own()).add("a", event()).expect("a", Expected::Exists);
    let refused = block_on(session.save_batch(batch)).unwrap_err();
    assert_eq!(refused.rejected.into_messages().collect::<Vec<_>>(), [event(), own(), event()]);
}

#[test]
fn an_ended_session_refuses() {
    let store = MessageStore::new();
    let session = store.open_session("s").unwrap();
    assert!(session.end() && session.is_ended());
    let refused = block_on(session.save("a", event())).unwrap_err();
    assert!(matches!(&refused.error, AppendFailure::SessionEnded { id, .. } if &**id == "s"));
    assert_eq!(refused.to_string(), r#"session "s" was ended"#);
    let refused = block_on(session.clone().save_batch(Batch::new().add("a", event()))).unwrap_err();
    assert!(matches!(refused.error, AppendFailure::SessionEnded { .. }));
    assert_eq!(sessions_of(&store), [""; 0]);
}

#[test]
fn an_id_is_a_name_and_is_opened_once() {
    let store = MessageStore::new();
    assert_eq!(store.open_session("").unwrap_err(), SessionError::InvalidId(InvalidName::Empty));
    store.open_session("s").unwrap();
    let twice = store.begin_session("s").unwrap_err();
    assert!(matches!(twice, SessionError::Exists { .. }));
    assert_eq!(store.current_session(), None, "and nothing became current");
    store.end_session("s");
    assert_eq!(store.open_session("s").unwrap_err().to_string(), r#"session "s" is listed already"#);
}

#[test]
fn the_list_is_bounded_and_what_ended_can_be_forgotten() {
    let store = MessageStore::builder().max_sessions(2).log(Log::builder()).unwrap();
    store.open_session("one").unwrap();
    store.open_session("two").unwrap();
    let refused = store.open_session("three").unwrap_err();
    assert!(matches!(refused, SessionError::TooMany { max: 2, .. }));
    assert!(!store.forget_session("one"), "it is open");
    store.end_session("one");
    assert!(store.open_session("three").is_err(), "ended ones count");
    assert!(store.forget_session("one") && !store.forget_session("one"));
    store.open_session("three").unwrap();
    assert_eq!(ids(&store), ["two", "three"].map(Into::into));
}

/// Handles from many threads: every message has the session that it was saved through, and each is counted exactly.
#[test]
fn sessions_are_used_from_many_threads() {
    const EACH: u64 = 500;
    let store = MessageStore::new();
    let sessions: Vec<_> = (0..3).map(|n| store.open_session(&format!("s{n}")).unwrap()).collect();
    thread::scope(|scope| {
        for session in sessions.iter().chain(&sessions) {
            let store = &store;
            scope.spawn(move || {
                for _ in 0..EACH {
                    let mine = Message::event("E", session.id()).unwrap();
                    block_on(session.save("a", mine)).unwrap();
                    save(store);
                }
            });
        }
    });
    for envelope in iterate(store.read_all(&Filter::new())).map(Result::unwrap) {
        assert_eq!(envelope.session_id().unwrap_or_default().as_bytes(), envelope.payload());
    }
    for session in listed(&store) {
        assert_eq!(session.messages, 2 * EACH);
        assert_eq!(iterate(store.session_messages(&session.id, &Filter::new())).count() as u64, 2 * EACH);
    }
}

/// Many threads open, make current, and end sessions of their own: none is lost, ids are given once, and at the end none is
/// current.
#[test]
fn sessions_are_opened_and_ended_from_many_threads() {
    const EACH: usize = 100;
    let store = MessageStore::new();
    let opened: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let store = &store;
                scope.spawn(move || {
                    let mut opened = 0;
                    for n in 0..EACH {
                        // Half of the ids are wanted by all.
                        let id = if n % 2 == 0 { format!("shared-{n}") } else { format!("own-{thread}-{n}") };
                        if let Ok(session) = store.begin_session(&id) {
                            opened += 1;
                            save(store);
                            assert!(session.end(), "it was ended by nobody else");
                        }
                    }
                    opened
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(opened, EACH / 2 + 4 * EACH / 2);
    let listed = listed(&store);
    assert_eq!(listed.len(), opened);
    assert!(listed.iter().all(|session| session.ended.is_some()));
    assert_eq!(store.current_session(), None);
    let stamped = sessions_of(&store).iter().filter(|id| *id != "no-session").count() as u64;
    assert_eq!(listed.iter().map(|session| session.messages).sum::<u64>(), stamped);
}

/// What is saved once is counted once, in the session in which it was stored.
#[test]
fn a_repeat_is_not_counted() {
    let store = MessageStore::new();
    let (first, second) = (store.open_session("first").unwrap(), store.open_session("second").unwrap());
    let known = || Message::builder("E").message_id("m").build().unwrap();
    let saved = [&first, &second, &first]
        .map(|session| block_on(session.save_with("a", known(), AppendOptions::new().once())).unwrap().repeated);
    assert_eq!(saved, [false, true, true]);
    assert!(block_on(second.save_batch(Batch::new().add("a", known()).once())).unwrap().repeated);
    let counts = [first, second].map(|session| block_on(session.info()).unwrap().messages);
    assert_eq!(counts, [1, 0]);
    assert_eq!(sessions_of(&store), ["first"]);
}
