//! What handles, envelopes and errors tell of themselves, and that settings on their bounds are settings.

use std::error::Error;

use annals::{Batch, Condition, Envelope, Expected, Item, Limits, Log, Message, Query, Retention, Timestamp};

fn event(payload: &[u8]) -> Message<'static> {
    Message::event("E", payload.to_vec()).unwrap()
}

/// An error says what was expected and what is there; what was refused says the same, and has the same source.
#[test]
fn refusals_say_why() {
    let log = Log::new();
    let refuse = |expected: Expected| {
        let refused = log.append_with("s", event(b""), expected).unwrap_err();
        assert_eq!(refused.to_string(), refused.error.to_string());
        refused.conflict().unwrap().to_string()
    };
    assert_eq!(refuse(Expected::Exists), r#"stream "s" does not exist, expected to exist"#);
    log.append("s", event(b"")).unwrap();
    assert_eq!(refuse(Expected::NoStream), r#"stream "s" is at revision 0, expected not to exist"#);
    assert_eq!(refuse(Expected::exactly(3)), r#"stream "s" is at revision 0, expected at revision 3"#);
    let condition = Condition::none(Query::name("E").unwrap());
    let refused = log.append_with("s", event(b""), &condition).unwrap_err();
    assert_eq!(refused.to_string(), "the envelope at position 1 matches the append condition");
    let refused = log.append("", event(b"")).unwrap_err();
    assert_eq!(refused.source().map(ToString::to_string), refused.error.source().map(ToString::to_string));
    assert!(refused.source().is_some(), "what is wrong with the name");
}

/// Limits and settings on their bounds build a log, which tells its limits.
#[test]
fn settings_on_their_bounds_build_a_log() {
    let mut limits = Limits::default();
    (limits.name_bytes, limits.metadata_bytes, limits.batch_len) = (255, 1 << 24, 1 << 20);
    limits.streams = 7;
    let log = Log::builder().limits(limits).build().unwrap();
    assert_eq!((log.limits().streams, log.limits().metadata_bytes), (7, 1 << 24));
}

#[test]
fn a_batch_knows_its_length() {
    assert!(Batch::new().is_empty());
    assert!(Batch::new().expect("s", Expected::Any).is_empty());
    let batch = Batch::new().add("s", event(b""));
    assert_eq!((batch.len(), batch.is_empty()), (1, false));
}

/// What a backend asks of a batch.
#[test]
fn a_batch_tells_its_terms() {
    let condition = Condition::none(Query::all());
    let bare = Batch::new().add("s", event(b""));
    assert_eq!((bare.given_condition(), bare.given_time(), bare.is_once()), (None, None, false));
    let time = Timestamp::from_nanos(7);
    let full = Batch::new().condition(condition.clone()).at(time).once().stored().add("s", event(b""));
    assert_eq!((full.given_condition(), full.given_time(), full.is_once()), (Some(&condition), Some(time), true));
    assert_eq!(full.len(), 1);
}

/// Each id is the one that was given, alone or with the others.
#[test]
fn envelopes_tell_their_ids_apart() {
    let log = Log::new();
    let ids = |e: &Envelope| {
        [e.request_id(), e.correlation_id(), e.causation_id(), e.session_id(), e.message_id()]
            .map(|id| id.map(str::to_owned))
    };
    let append = |message: annals::MessageBuilder<'_>| {
        let position = log.append("s", message.build().unwrap()).unwrap().position;
        ids(&log.view().get(position).unwrap()).map(Option::unwrap_or_default)
    };
    let message = || Message::builder("M");
    assert_eq!(append(message().request_id("r")), ["r", "", "", "", ""]);
    assert_eq!(append(message().correlation_id("c")), ["", "c", "", "", ""]);
    assert_eq!(append(message().causation_id("u")), ["", "", "u", "", ""]);
    assert_eq!(append(message().session_id("s")), ["", "", "", "s", ""]);
    assert_eq!(append(message().message_id("m")), ["", "", "", "", "m"]);
    let all = message().request_id("r").correlation_id("c").causation_id("u").session_id("s").message_id("m");
    let built = all.clone().build().unwrap();
    assert_eq!((built.request_id(), built.correlation_id(), built.causation_id()), (Some("r"), Some("c"), Some("u")));
    assert_eq!((built.session_id(), built.message_id()), (Some("s"), Some("m")));
    assert_eq!(append(all), ["r", "c", "u", "s", "m"]);
    let early = log.view_at(2).unwrap();
    assert!(early.get(2).is_some() && early.get(3).is_none() && early.get(0).is_none());
}

/// Ids of one sort are alternatives, ids of different sorts must all be there, and who has none never matches.
#[test]
fn queries_by_ids() {
    let log = Log::new();
    for (request, session, id) in [("r", "s", "1"), ("r", "t", "2"), ("q", "s", "3"), ("q", "t", "4")] {
        let message = Message::builder("M").request_id(request).session_id(session).message_id(id);
        log.append("s", message.build().unwrap()).unwrap();
    }
    log.append("s", Message::builder("M").causation_id("r").correlation_id("s").build().unwrap()).unwrap();
    log.append("s", event(b"")).unwrap();
    let found = |query: Query| log.read().matching(query).iter().map(|e| e.position().get()).collect::<Vec<_>>();
    let item = |item: Item| found(Query::all().or(item));
    assert_eq!(found(Query::request("r")), [1, 2]);
    assert_eq!(found(Query::session("s")), [1, 3]);
    assert_eq!(found(Query::message_id("4")), [4]);
    assert_eq!(item(Item::new().request("r").request("q")), [1, 2, 3, 4]);
    assert_eq!(item(Item::new().request("q").session("t")), [4]);
    assert_eq!(item(Item::new().message_id("1").message_id("3").session("s").request("r")), [1]);
    assert_eq!(found(Query::session("no-such").or(Item::new().message_id("2"))), [2]);
    assert_eq!(found(Query::request("")), [0_u64; 0]);
}

/// A handle of another log stands for its id when it says what to read.
#[test]
fn a_stream_is_read_by_a_handle_of_another_log() {
    let (log, other) = (Log::new(), Log::new());
    other.append("s", event(b"other")).unwrap();
    let foreign = other.stream("s").unwrap();
    assert_eq!(log.read_stream(&foreign).iter().count(), 0);
    log.append("t", event(b"")).unwrap();
    log.append("s", event(b"ours")).unwrap();
    assert_eq!(log.read_stream(&foreign).iter().map(|e| e.payload().to_vec()).collect::<Vec<_>>(), [b"ours"]);
    assert_eq!(other.read_stream(&foreign).iter().map(|e| e.payload().to_vec()).collect::<Vec<_>>(), [b"other"]);
}

/// The coarse clock and the system's tell about the same time.
#[test]
fn clocks_of_the_system_agree() {
    let time_of = |builder: annals::Builder| {
        let log = builder.build().unwrap();
        log.append("s", event(b"")).unwrap();
        log.get(1).unwrap().time().unwrap()
    };
    let (coarse, fine) = (time_of(Log::builder().coarse_clock()), time_of(Log::builder().system_clock()));
    assert!(coarse > Timestamp::MIN && coarse.as_nanos().abs_diff(fine.as_nanos()) < 60_000_000_000);
}

/// The longest names and payloads lie beside each other, across many chunks, and each is what it was.
#[test]
fn the_longest_records_do_not_overlap() {
    let log = Log::builder().no_clock().build().unwrap();
    let (name, id) = ("n".repeat(255), "s".repeat(255));
    let lengths = [0, 1, 7, 8, 9, 100, 1023, 1024, 1025, 5000];
    let tag = |round: usize| format!("{round:0>200}");
    for round in 0..200 {
        for length in lengths {
            let message = Message::builder(name.as_str()).payload(vec![round as u8; length]);
            let message = if length % 2 == 1 { message.tag(tag(round)) } else { message };
            log.append(&id, message.build().unwrap()).unwrap();
            let slice = vec![round as u8; length];
            log.append("s", Message::event("E", slice.as_slice()).unwrap()).unwrap();
        }
    }
    let mut all = log.read().iter();
    for round in 0..200 {
        for length in lengths {
            let (long, short) = (all.next().unwrap(), all.next().unwrap());
            assert_eq!((long.name(), long.stream(), short.name(), short.stream()), (&*name, &*id, "E", "s"));
            assert_eq!(long.payload(), vec![round as u8; length]);
            assert_eq!(short.payload(), long.payload());
            assert_eq!(long.tags().next().map(str::to_owned), (length % 2 == 1).then(|| tag(round)));
        }
    }
}

/// L17: retention weighs payloads, names and attributes, inline or not: so many bytes more, so much more weight.
#[test]
fn retention_weighs_all_of_a_record() {
    let weight = |name: &str, payload: &[u8], tag: Option<&str>| {
        let kept = |bytes: u64| {
            let mut retention = Retention::default();
            retention.bytes = Some(bytes);
            let log = Log::builder().no_clock().retention(retention).segment_slots(2).build().unwrap();
            for _ in 0..3 {
                let message = Message::builder(name.to_owned()).payload(payload);
                let message = if let Some(tag) = tag { message.tag(tag.to_owned()) } else { message };
                log.append("s", message.build().unwrap()).unwrap();
            }
            log.read().iter().count()
        };
        let (mut low, mut high) = (1, 1 << 20);
        while low < high {
            let middle = (low + high) / 2;
            if kept(middle) >= 2 { high = middle } else { low = middle + 1 }
        }
        low / 2
    };
    let small = weight("E", b"", None);
    assert_eq!(small, 56, "32 of the header, 16 of the sums, 1 of the name, to 8 bytes");
    assert_eq!(weight(&"n".repeat(81), b"", None), small + 80);
    assert_eq!(weight("E", &[0; 80], None), small + 80);
    let shared = weight("E", &[0; 4000], None);
    assert_eq!(shared, small + 32 + 4000, "the handle of a shared payload has 32 bytes");
    let (short, long) = (weight("E", b"", Some("t")), weight("E", b"", Some(&"t".repeat(81))));
    assert!(short > small && long == short + 80);
}

/// A record larger than any chunk lies in one of its own, between others, and outlives the log like them.
#[test]
fn a_record_may_be_larger_than_a_chunk() {
    let mut limits = Limits::default();
    limits.metadata_bytes = 1 << 24;
    let log = Log::builder().limits(limits).build().unwrap();
    let value = |round: u8| char::from(b'a' + round).to_string().repeat(3 << 20);
    for round in 0..3 {
        log.append("s", Message::builder("E").header("key", value(round)).build().unwrap()).unwrap();
        log.append("s", event(&[round])).unwrap();
    }
    let held: Vec<_> = log.read().iter().collect();
    drop(log);
    for (round, pair) in (0..).zip(held.chunks(2)) {
        assert_eq!(pair[0].headers().next(), Some(("key", &*value(round))));
        assert_eq!(pair[1].payload(), [round]);
    }
}

/// The first so many of a stream are so many, however many lie side by side.
#[test]
fn the_first_of_a_stream_are_no_more() {
    let log = Log::new();
    (0..100).for_each(|_| _ = log.append("s", event(b"")).unwrap());
    for count in 0..70_u64 {
        assert_eq!(log.read_stream("s").first(count).iter().count() as u64, count);
    }
}
