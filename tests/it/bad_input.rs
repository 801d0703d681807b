//! Bad input: each kind gets its typed error or its documented answer, gives back what was not appended, and leaves the
//! log as it was: same end, same envelopes, same streams known (L1: rejected appends use up nothing; L17).

use std::sync::mpsc;
use std::time::Duration;

use annals::{
    AppendError, AppendOptions, Batch, BuildError, Condition, Expected, Indexes, InvalidName, Item, Limit,
    LimitExceeded, Limits, Log, Message, Name, Part, Position, Query, Retention, Revision, StreamError, Timestamp,
};

fn message(name: &'static str) -> Message<'static> {
    Message::builder(name).payload("content").tag("tag").header("key", "value").build().unwrap()
}

/// A log with five envelopes in two streams.
fn filled(log: Log) -> Log {
    for stream in ["a", "b", "a", "a", "b"] {
        let options = AppendOptions::new().at(Timestamp::from_nanos(1));
        log.append_with(stream, message("Given"), options).unwrap();
    }
    log
}

fn log() -> Log {
    filled(Log::builder().segment_slots(2).build().unwrap())
}

fn limited(change: impl FnOnce(&mut Limits)) -> Log {
    let mut limits = Limits::default();
    change(&mut limits);
    filled(Log::builder().limits(limits).build().unwrap())
}

/// Runs `attempt`, after which everything that anybody can see of the log must be as it was.
fn unchanged<R>(log: &Log, attempt: impl FnOnce() -> R) -> R {
    let content = || log.read().iter().map(|it| format!("{it:?} {:?}", it.payload())).collect::<Vec<_>>();
    let (first, end, streams, before) = (log.first(), log.end(), log.stream_count(), content());
    let result = attempt();
    assert_eq!((log.first(), log.end()), (first, end), "first and end are as they were");
    assert_eq!(content(), before, "the envelopes are as they were");
    assert_eq!(log.stream_count(), streams, "the streams known are as they were");
    result
}

/// Tries to append one message in every way there is: all are refused in the same way, and give the message back.
fn refused_everywhere(log: &Log, stream: &str, bad: &Message<'_>) -> AppendError {
    let single = unchanged(log, || log.append(stream, bad.clone()).unwrap_err());
    assert_eq!(single.rejected, *bad, "the message comes back");
    let batch = Batch::new().add("new", message("Good")).add(stream, bad.clone());
    let batch = unchanged(log, || log.append_batch(batch).unwrap_err());
    assert_eq!(batch.error.to_string(), single.error.to_string());
    assert_eq!(batch.rejected.into_messages().collect::<Vec<_>>(), [message("Good"), bad.clone()]);
    if let Some(handle) = log.stream("a").ok().filter(|_| Name::new(stream).is_ok()) {
        let by_handle = unchanged(log, || handle.append(bad.clone()).unwrap_err());
        let by_appender = unchanged(log, || log.appender().append(&handle, bad.clone()).unwrap_err());
        assert_eq!((by_handle.rejected, by_appender.rejected), (bad.clone(), bad.clone()));
        assert_eq!(by_handle.error.to_string(), single.error.to_string());
        assert_eq!(by_appender.error.to_string(), single.error.to_string());
    }
    single.error
}

fn exceeded(error: &AppendError) -> (Limit, u64, u64) {
    match error {
        AppendError::Limit(LimitExceeded { limit, actual, max, .. }) => (*limit, *actual, *max),
        other => panic!("not a limit: {other}"),
    }
}

/// A stream id that is no name is refused wherever a stream can be named, and reads as empty.
fn refused_as_stream(id: &str, reason: InvalidName) {
    let log = log();
    let is_reason = |error: &AppendError| matches!(error, AppendError::InvalidStream(found) if *found == reason);
    assert!(is_reason(&unchanged(&log, || log.append(id, message("M")).unwrap_err()).error), "{id:?}");
    assert_eq!(unchanged(&log, || log.stream(id).unwrap_err()), StreamError::InvalidId(reason));
    for expected in [Expected::Any, Expected::NoStream, Expected::Exists, Expected::exactly(0)] {
        let single = unchanged(&log, || log.append_with(id, message("M"), expected).unwrap_err());
        assert!(is_reason(&single.error), "{id:?} {expected:?}");
        let added = Batch::new().add("new", message("M")).add(id, message("M"));
        assert!(is_reason(&unchanged(&log, || log.append_batch(added).unwrap_err()).error), "{id:?}");
        let guarded = Batch::new().expect("new", Expected::NoStream).expect(id, expected);
        assert!(is_reason(&unchanged(&log, || log.append_batch(guarded).unwrap_err()).error), "{id:?}");
    }
    assert_eq!(unchanged(&log, || log.read_stream(id).iter().count()), 0);
}

/// A text that is no name is refused as every part of a message and of a query.
fn refused_as_part(text: &str, reason: InvalidName) {
    let built = [
        (Part::Name, Message::builder(text).build()),
        (Part::Name, Message::event(text, "")),
        (Part::Name, Message::command(text, "")),
        (Part::Tag, Message::builder("M").tag(text).build()),
        (Part::HeaderKey, Message::builder("M").header(text, "value").build()),
        (Part::RequestId, Message::builder("M").request_id(text).build()),
        (Part::CorrelationId, Message::builder("M").correlation_id(text).build()),
        (Part::CausationId, Message::builder("M").causation_id(text).build()),
        (Part::SessionId, Message::builder("M").session_id(text).build()),
        (Part::MessageId, Message::builder("M").message_id(text).build()),
    ];
    for (part, message) in built {
        let error = message.expect_err("not a name");
        assert_eq!((error.part, error.reason), (part, reason), "{text:?}");
    }
    assert_eq!(Name::new(text).unwrap_err(), reason);
    let queries = [Query::tag(text), Query::name(text), Query::stream(text), Query::category(text)];
    queries.into_iter().for_each(|query| assert_eq!(query.unwrap_err(), reason));
    assert_eq!(Item::new().tag("good").unwrap().tag(text).unwrap_err(), reason);
}

fn refused(text: &str, is_reason: impl Fn(InvalidName) -> bool) {
    let reason = Name::new(text).unwrap_err();
    assert!(is_reason(reason), "{text:?}: {reason:?}");
    refused_as_stream(text, reason);
    refused_as_part(text, reason);
}

#[test]
fn an_empty_name_is_refused() {
    refused("", |reason| reason == InvalidName::Empty);
}

#[test]
fn a_name_of_256_bytes_is_refused_and_one_of_255_is_not() {
    for long in ["n".repeat(256), "ä".repeat(128), "n".repeat(100_000)] {
        refused(&long, |reason| matches!(reason, InvalidName::TooLong { bytes, max: 255, .. } if bytes == long.len()));
    }
    let longest = "n".repeat(255);
    let log = log();
    log.append(&longest, Message::builder(longest.as_str()).tag(longest.as_str()).build().unwrap()).unwrap();
    let envelope = log.get(6).unwrap();
    assert_eq!((envelope.stream(), envelope.name()), (longest.as_str(), longest.as_str()));
    assert_eq!(envelope.tags().collect::<Vec<_>>(), [longest.as_str()]);
}

#[test]
fn control_characters_are_refused_wherever_they_stand() {
    for control in ('\0'..='\u{1f}').chain('\u{7f}'..='\u{9f}') {
        for (text, at) in [(format!("{control}ab"), 0), (format!("a{control}b"), 1), (format!("ab{control}"), 2)] {
            let reason = Name::new(text.as_str()).unwrap_err();
            assert!(matches!(reason, InvalidName::ControlCharacter { at: found, .. } if found == at), "{text:?}");
            refused_as_part(&text, reason);
        }
    }
    for control in ["\0", "\n", "\u{1f}", "\u{7f}", "\u{80}", "\u{9f}"] {
        let text = format!("a{control}");
        refused(&text, |reason| matches!(reason, InvalidName::ControlCharacter { at: 1, .. }));
    }
}

#[test]
fn the_neighbours_of_control_characters_are_names() {
    let log = log();
    for text in [" ", "~", "\u{a0}", "¿", "ÿ", "Â", "À", "\u{200b}", "日本", "🦀"] {
        log.append(text, Message::builder(text).tag(text).build().unwrap()).unwrap();
        let envelope = log.get(log.end()).unwrap();
        assert_eq!((envelope.stream(), envelope.name(), envelope.tags().next()), (text, text, Some(text)));
    }
}

#[test]
fn a_name_longer_than_the_log_allows_is_refused() {
    let log = limited(|limits| limits.name_bytes = 5);
    let over = refused_everywhere(&log, "a", &message("LongerThanFive"));
    assert_eq!(exceeded(&over), (Limit::NameBytes, 14, 5));
    let stream = unchanged(&log, || log.append("sixsix", message("Given")).unwrap_err());
    assert_eq!(exceeded(&stream.error), (Limit::NameBytes, 6, 5));
    let batch = Batch::new().add("new", message("Given")).add("sixsix", message("Given"));
    let batch = unchanged(&log, || log.append_batch(batch).unwrap_err());
    assert_eq!(exceeded(&batch.error), (Limit::NameBytes, 6, 5));
    assert!(matches!(unchanged(&log, || log.stream("sixsix").unwrap_err()), StreamError::Limit(_)));
    log.append("five5", message("Five5")).unwrap();
}

#[test]
fn a_payload_larger_than_the_log_allows_is_refused() {
    for limit in [0, 1, 1023, 1024, 1025, 5000] {
        let log = limited(|limits| limits.payload_bytes = limit.max("content".len()));
        let limit = limit.max("content".len());
        let bytes = vec![7; limit + 1];
        for bad in [Message::event("M", bytes.as_slice()).unwrap(), Message::event("M", bytes.clone()).unwrap()] {
            let error = refused_everywhere(&log, "a", &bad);
            assert_eq!(exceeded(&error), (Limit::PayloadBytes, limit as u64 + 1, limit as u64));
        }
        log.append("a", Message::event("M", &bytes[..limit]).unwrap()).unwrap();
        assert_eq!(log.get(6).unwrap().payload(), &bytes[..limit]);
    }
}

/// L1, L17: a stream that was never written and only met refusals takes no place.
#[test]
fn a_refused_message_makes_no_stream_known() {
    let log = limited(|limits| limits.payload_bytes = 10);
    let large = Message::event("M", &[0; 11]).unwrap();
    refused_everywhere(&log, "unheard-of", &large);
    let timeless = filled(Log::builder().time_per_append().build().unwrap());
    refused_everywhere(&timeless, "unheard-of", &message("M"));
    let seen = Condition::none(Query::all());
    unchanged(&log, || log.append_with("unheard-of", message("M"), &seen).unwrap_err());
    let batch = || Batch::new().add("unheard-of", message("M"));
    unchanged(&log, || log.append_batch(batch().condition(seen.clone())).unwrap_err());
    unchanged(&log, || log.append_batch(batch().expect("a", Expected::NoStream)).unwrap_err());
    unchanged(&log, || log.append_batch(batch().expect("unheard-of", Expected::Exists)).unwrap_err());
    unchanged(&log, || log.append_with("unheard-of", message("M"), Expected::Exists).unwrap_err());
    unchanged(&log, || log.append_with("unheard-of", message("M"), Expected::exactly(0)).unwrap_err());
}

#[test]
fn metadata_larger_than_the_log_allows_is_refused() {
    let log = limited(|limits| limits.metadata_bytes = 100);
    let of = |value: usize| Message::builder("M").header("key", "v".repeat(value)).build().unwrap();
    // 4 + 1 for the block, 5 + 3 for the key.
    log.append("a", of(87)).unwrap();
    assert_eq!(exceeded(&refused_everywhere(&log, "a", &of(88))), (Limit::MetadataBytes, 101, 100));
    let tags = (0..20).fold(Message::builder("M"), |message, tag| message.tag(format!("tag-{tag}"))).build().unwrap();
    assert_eq!(exceeded(&refused_everywhere(&log, "a", &tags)).0, Limit::MetadataBytes);
}

#[test]
fn a_batch_longer_than_the_log_allows_is_refused() {
    let log = limited(|limits| limits.batch_len = 3);
    let of = |count: usize| (0..count).fold(Batch::new(), |batch, _| batch.add("new", message("M")));
    let long = unchanged(&log, || log.append_batch(of(4)).unwrap_err());
    assert_eq!(exceeded(&long.error), (Limit::BatchLength, 4, 3));
    assert_eq!(long.rejected.into_messages().count(), 4);
    let guards = (0..4).fold(Batch::new(), |batch, n| batch.expect(format!("s-{n}"), Expected::NoStream));
    let long = unchanged(&log, || log.append_batch(guards).unwrap_err());
    assert_eq!(exceeded(&long.error), (Limit::BatchLength, 4, 3));
    assert_eq!(log.append_batch(of(3)).unwrap().last, 8);
}

/// An empty batch changes nothing and tells the end; its terms are decided all the same.
#[test]
fn an_empty_batch_changes_nothing() {
    let log = log();
    let empty = unchanged(&log, || log.append_batch(Batch::new()).unwrap());
    assert_eq!((empty.first, empty.last, empty.revisions.len()), (Position::new(6), Position::new(5), 0));
    let met = Batch::new().expect("a", Expected::exactly(2)).condition(Condition::none(Query::name("Other").unwrap()));
    assert_eq!(unchanged(&log, || log.append_batch(met).unwrap()).last, 5);
    let unmet = Batch::new().expect("a", Expected::exactly(1));
    let unmet = unchanged(&log, || log.append_batch(unmet).unwrap_err());
    assert_eq!(unmet.conflict().unwrap().actual(), Some(Revision::new(2)));
    let matched = Batch::new().condition(Condition::none(Query::stream("b").unwrap()));
    let matched = unchanged(&log, || log.append_batch(matched).unwrap_err());
    assert!(matches!(matched.error, AppendError::ConditionFailed(failed) if failed.position() == 2));
    let new = Log::new();
    let empty = unchanged(&new, || new.append_batch(Batch::new()).unwrap());
    assert_eq!((empty.first, empty.last), (Position::FIRST, Position::NONE));
}

/// Two expectations of one stream must be the same, by whatever the stream is named.
#[test]
fn two_expectations_of_one_stream_are_refused() {
    let log = log();
    let handle = log.stream("a").unwrap();
    let ambiguous = [
        Batch::new().expect("a", Expected::exactly(2)).expect("a", Expected::Exists),
        Batch::new().expect("a", Expected::exactly(2)).expect(&handle, Expected::Any),
        Batch::new().expect(&handle, Expected::NoStream).expect("b", Expected::Exists).expect("a", Expected::Exists),
        Batch::new().expect(&handle, Expected::exactly(2)).expect(handle.clone(), Expected::exactly(1)),
        Batch::new().expect("new", Expected::NoStream).expect("new", Expected::Any),
    ];
    for batch in ambiguous {
        let error = unchanged(&log, || log.append_batch(batch.add("a", message("M"))).unwrap_err());
        assert!(matches!(&error.error, AppendError::AmbiguousExpectation { .. }), "{error}");
        assert_eq!(error.rejected.into_messages().collect::<Vec<_>>(), [message("M")]);
    }
    let same = Batch::new().expect("a", Expected::exactly(2)).expect(&handle, Expected::exactly(2));
    let appended = log.append_batch(same.add(&handle, message("M")).add("a", message("M"))).unwrap();
    assert_eq!((appended.first.get(), appended.revisions.as_slice()), (6, &[Revision::new(3), Revision::new(4)][..]));
}

#[test]
fn positions_that_are_not_there_have_no_envelope() {
    let log = log();
    for beyond in [6, 7, 1 << 40, 1 << 63, u64::MAX] {
        assert!(unchanged(&log, || log.get(beyond)).is_none());
        let error = unchanged(&log, || log.view_at(beyond)).unwrap_err();
        assert_eq!((error.position.get(), error.end.get()), (beyond, 5));
        assert_eq!(log.read().from(beyond).iter().count(), 0);
        assert_eq!(log.read().after(beyond).backwards().iter().count(), 0);
        assert_eq!(log.read().to(beyond).iter().count(), 5);
        assert_eq!(log.read_stream("a").from(beyond).iter().count(), 0);
        assert_eq!(log.read_stream("a").to(beyond).iter().count(), 3);
        assert_eq!(log.read_stream("a").from_revision(beyond).iter().count(), 0);
        assert_eq!(log.read_stream("a").to_revision(beyond).iter().count(), 3);
        assert_eq!(log.read().first(beyond).last(beyond).iter().count(), 5);
    }
    assert!(log.get(Position::NONE).is_none());
    assert_eq!(log.view_at(Position::NONE).unwrap().read().iter().count(), 0);
    assert_eq!(log.read().from(Position::NONE).iter().count(), 5);
    assert_eq!(log.read().to(Position::NONE).iter().count(), 0);
    assert_eq!(log.read().from(4).to(2).iter().count(), 0);
    assert_eq!(log.read_stream("a").from_revision(2).to_revision(1).iter().count(), 0);
    assert_eq!(log.read().first(0).iter().count() + log.read().last(0).iter().count(), 0);
}

#[test]
fn a_removed_range_reads_as_empty() {
    let log = log();
    assert_eq!(log.truncate_before(4), 4);
    assert_eq!(unchanged(&log, || log.truncate_before(2)), 4);
    assert_eq!(unchanged(&log, || log.truncate_before(0)), 4);
    for gone in 0..4 {
        assert!(log.get(gone).is_none());
        assert_eq!(log.view_at(gone).unwrap().read().iter().count(), 0);
        assert_eq!(log.read().to(gone).iter().count(), 0);
        assert_eq!(log.read_stream("b").to(gone).iter().count(), 0);
    }
    assert_eq!(log.read_stream("a").to_revision(1).iter().count(), 0);
    assert_eq!(log.truncate_before(u64::MAX), 6);
    assert_eq!((log.read().iter().count(), log.end().get(), log.first().get()), (0, 5, 6));
    assert_eq!(log.append_with("a", message("M"), Expected::exactly(2)).unwrap().position, 6);
}

/// A handle of another log is refused, alone and in a batch.
#[test]
fn a_handle_of_another_log_is_refused() {
    let (log, other) = (log(), Log::new());
    for id in ["a", "elsewhere"] {
        let foreign = other.stream(id).unwrap();
        let single = unchanged(&log, || log.appender().append(&foreign, message("M")).unwrap_err());
        assert!(matches!(&single.error, AppendError::ForeignStream { stream, .. } if **stream == *id));
        assert_eq!(single.rejected, message("M"));
        foreign_in_batch(&log, Batch::new().add(&foreign, message("M")));
        foreign_in_batch(&log, Batch::new().add("b", message("M")).add(foreign.clone(), message("M")));
        foreign_in_batch(&log, Batch::new().expect(&foreign, Expected::Any).add("a", message("M")));
    }
    assert_eq!(other.end(), 0);
}

/// A handle of another log is refused also when the batch has named this log's stream of the same id before.
#[test]
fn a_handle_of_another_log_is_not_taken_for_the_stream_of_its_name() {
    let (log, other) = (log(), Log::new());
    let foreign = other.stream("a").unwrap();
    foreign_in_batch(&log, Batch::new().add("a", message("M")).add(&foreign, message("M")));
    foreign_in_batch(&log, Batch::new().expect("a", Expected::Exists).add(&foreign, message("M")));
    foreign_in_batch(&log, Batch::new().expect("a", Expected::Exists).expect(&foreign, Expected::Exists));
}

/// Each stream is counted once, when it becomes known, written or not; the log of an appender is the one it was made for.
#[test]
fn streams_are_counted_once() {
    let log = Log::new();
    for (count, id) in (0..).zip(["a", "b", "c", "d"]) {
        assert_eq!(log.stream_count(), count);
        let stream = log.stream(id).unwrap();
        let mut appender = log.appender();
        appender.append(&stream, Message::event("E", "").unwrap()).unwrap();
        log.append(id, Message::event("E", "").unwrap()).unwrap();
        assert_eq!((appender.log().stream_count(), stream.log().stream_count()), (count + 1, count + 1));
    }
}

/// A batch that is refused for a handle of another log makes nothing known that it named before.
#[test]
fn a_handle_of_another_log_makes_no_stream_known() {
    let (log, other) = (log(), Log::new());
    let foreign = other.stream("a").unwrap();
    foreign_in_batch(&log, Batch::new().add("new", message("M")).add(&foreign, message("M")));
}

fn foreign_in_batch(log: &Log, batch: Batch<'_>) {
    let error = unchanged(log, || log.append_batch(batch)).expect_err("a handle of another log").error;
    assert!(matches!(&error, AppendError::ForeignStream { .. }), "{error}");
}

#[test]
fn an_append_without_its_time_is_refused() {
    let log = filled(Log::builder().time_per_append().build().unwrap());
    let missing = |error: &AppendError| matches!(error, AppendError::MissingTime);
    assert!(missing(&refused_everywhere(&log, "a", &message("M"))));
    assert!(missing(&unchanged(&log, || log.append_batch(Batch::new()).unwrap_err()).error));
    // A time before the last one is raised to it (L7).
    log.append_batch(Batch::new().add("a", message("M")).at(Timestamp::from_nanos(-5))).unwrap();
    assert_eq!(log.get(6).unwrap().time(), Some(Timestamp::from_nanos(1)));
}

#[test]
fn one_stream_too_many_is_refused() {
    let log = limited(|limits| limits.streams = 3);
    let many = |error: &AppendError| exceeded(error) == (Limit::Streams, 4, 3);
    // Two of three are taken. A batch that asks for two more gets none.
    let batch = Batch::new().add("c", message("M")).add("d", message("M"));
    let refused = unchanged(&log, || log.append_batch(batch).unwrap_err());
    assert_eq!(refused.rejected.into_messages().count(), 2);
    // One more is as many as there may be.
    log.append_batch(Batch::new().add("c", message("M"))).unwrap();
    assert!(many(&unchanged(&log, || log.append("d", message("M")).unwrap_err()).error));
    assert!(many(&unchanged(&log, || log.append_with("d", message("M"), Expected::NoStream).unwrap_err()).error));
    assert!(matches!(unchanged(&log, || log.stream("d").unwrap_err()), StreamError::Limit(_)));
    let absent = unchanged(&log, || log.append_with("d", message("M"), Expected::exactly(4)).unwrap_err());
    assert_eq!(absent.conflict().unwrap().actual(), None);
    assert_eq!(log.append("a", message("M")).unwrap().revision, 3);
}

#[test]
fn settings_out_of_range_build_no_log() {
    for slots in [0, 1, 3, 6, 1000, (1 << 20) + 1, 1 << 21, usize::MAX] {
        let error = Log::builder().segment_slots(slots).build().unwrap_err();
        assert!(matches!(error, BuildError::SegmentSize { slots: found, .. } if found == slots));
    }
    for slots in [2, 1 << 20] {
        assert!(Log::builder().segment_slots(slots).build().is_ok());
    }
    let with = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        Log::builder().limits(limits).build()
    };
    let names = with(|limits| limits.name_bytes = 256).unwrap_err();
    assert!(matches!(names, BuildError::NameLimit { bytes: 256, .. }));
    let metadata = with(|limits| limits.metadata_bytes = (1 << 24) + 1).unwrap_err();
    assert!(matches!(metadata, BuildError::MetadataLimit { bytes: 16_777_217, .. }));
    let batches = with(|limits| limits.batch_len = (1 << 20) + 1).unwrap_err();
    assert!(matches!(batches, BuildError::BatchLimit { messages: 1_048_577, .. }));
    let mut aged = Retention::default();
    aged.age = Some(Duration::from_secs(1));
    assert_eq!(Log::builder().no_clock().retention(aged).build().unwrap_err(), BuildError::AgeWithoutClock);
    for buckets in [0, 3, 1 << 25] {
        let error = Log::builder().indexes(Indexes::new().names().buckets(buckets)).build().unwrap_err();
        assert!(matches!(error, BuildError::Buckets { buckets: found, .. } if found == buckets));
    }
    assert!(Log::builder().retention(aged).build().is_ok());
}

/// L5: what is refused comes back as it was, with every part it had.
#[test]
fn a_refused_message_comes_back_whole() {
    let log = log();
    for payload in [vec![1; 10], vec![2; 1024], vec![3; 1025], vec![4; 100_000]] {
        let whole = Message::builder("Whole")
            .kind(annals::Kind::Command)
            .payload(payload.as_slice())
            .own_time(Timestamp::MIN)
            .request_id("r")
            .correlation_id("c")
            .causation_id("u")
            .session_id("s")
            .message_id("m")
            .tag("t:1")
            .tag("t:2")
            .header("k", "v")
            .header("k", "")
            .build()
            .unwrap();
        let single = unchanged(&log, || log.append_with("a", whole.clone(), Expected::NoStream).unwrap_err());
        assert_eq!(single.rejected, whole);
        assert_eq!(whole.clone().into_builder().build().unwrap(), whole, "a builder keeps every part");
        let condition = Condition::none(Query::all());
        let single = unchanged(&log, || log.append_with("a", whole.clone(), &condition).unwrap_err());
        assert_eq!(single.rejected, whole);
        let batch = || Batch::new().add("a", whole.clone()).add("b", message("M")).expect("b", Expected::NoStream);
        let refused = unchanged(&log, || log.append_batch(batch()).unwrap_err());
        // It can be sent again as it came back.
        let again = unchanged(&log, || log.append_batch(refused.rejected.clone()).unwrap_err());
        assert_eq!(again.error.to_string(), refused.error.to_string());
        assert_eq!(again.rejected.into_messages().collect::<Vec<_>>(), [whole.clone(), message("M")]);
    }
}

/// A condition after a position that is not there yet is met, whatever the position.
#[test]
fn a_condition_after_the_end_is_met() {
    for after in [5, 6, 7, 1 << 40, (1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX] {
        // On a thread of its own, so that an append that never returns fails the test.
        let (done, result) = mpsc::channel();
        std::thread::spawn(move || {
            let log = log();
            let condition = Condition::none(Query::all()).after(after);
            let single = log.append_with("a", message("M"), &condition);
            let last = log.append_batch(Batch::new().condition(condition.after(u64::MAX)).add("a", message("M")));
            done.send((single.unwrap().position, last.unwrap().last)).unwrap();
        });
        let appended = result.recv_timeout(Duration::from_secs(60)).expect("the appends return");
        assert_eq!(appended, (Position::new(6), Position::new(7)), "after {after}");
    }
}
