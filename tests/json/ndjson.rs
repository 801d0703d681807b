//! What is exported and imported is what it was.

use annals::store::ndjson::{self, Problem};
use annals::{AppendError, AppendOptions, Envelope, Kind, Limits, Log, Message, MessageBuilder, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// A log that takes the time that it is given.
fn log() -> Log {
    Log::builder().time_per_append().build().unwrap()
}

fn words(envelope: &Envelope) -> String {
    let place = (envelope.position().get(), envelope.stream(), envelope.revision().get());
    let ids = (
        envelope.request_id(),
        envelope.correlation_id(),
        envelope.causation_id(),
        envelope.session_id(),
        envelope.message_id(),
    );
    let (tags, headers) = (envelope.tags().collect::<Vec<_>>(), envelope.headers().collect::<Vec<_>>());
    let times = (envelope.time(), envelope.own_time());
    format!(
        "{place:?} {:?} {:?} {ids:?} {tags:?} {headers:?} {times:?} {:?}",
        envelope.kind(),
        envelope.name(),
        envelope.payload()
    )
}

fn all(log: &Log) -> Vec<String> {
    log.read().iter().map(|envelope| words(&envelope)).collect()
}

fn exported(log: &Log) -> Vec<u8> {
    let mut text = Vec::new();
    let count = ndjson::export(log.read(), &mut text).unwrap();
    assert_eq!(count, log.end().get());
    assert_eq!(text.split(|byte| *byte == b'\n').count() as u64 - 1, count, "a line each");
    text
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let json = prop_oneof![
        Just("null".to_owned()),
        Just(r#"{"a":[1,2.50,-0.0,1E400],"a":"\ud800","$serde_json::private::RawValue":"1"}"#.to_owned()),
        Just("12345678901234567890123".to_owned()),
        Just(" {}".to_owned()),
        Just("{\"a\":\n1}".to_owned()),
        Just("\"\u{2028}\"\t".to_owned()),
        Just("[".repeat(300) + &"]".repeat(300)),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
    ];
    prop_oneof![
        json.prop_map(String::into_bytes),
        vec(any::<u8>(), 0..40),
        any::<String>().prop_map(String::into_bytes)
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Zäöü\"\\\\ -]{1,12}".prop_filter("a name", |name| Message::event(name.clone(), "").is_ok())
}

fn message() -> impl Strategy<Value = Message<'static>> {
    let texts = (vec(name(), 0..3), vec((name(), any::<String>()), 0..3));
    let ids = (option::of(name()), option::of(name()), option::of(name()), option::of(name()), option::of(name()));
    let parts = (name(), any::<bool>(), payload(), texts, ids, option::of(any::<i64>()));
    parts.prop_map(|(name, command, payload, (tags, headers), ids, own_time)| {
        let mut message = Message::builder(name).payload(payload);
        if command {
            message = message.kind(Kind::Command);
        }
        message = tags.into_iter().fold(message, MessageBuilder::tag);
        message = headers.into_iter().fold(message, |message, (key, value)| message.header(key, value));
        let with = |message: MessageBuilder<'static>, id, set: fn(MessageBuilder<'static>, String) -> _| match id {
            Some(id) => set(message, id),
            None => message,
        };
        message = with(message, ids.0, MessageBuilder::request_id);
        message = with(message, ids.1, MessageBuilder::correlation_id);
        message = with(message, ids.2, MessageBuilder::causation_id);
        message = with(message, ids.3, MessageBuilder::session_id);
        message = with(message, ids.4, MessageBuilder::message_id);
        if let Some(time) = own_time {
            message = message.own_time(Timestamp::from_nanos(time));
        }
        message.build().unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Whatever is in a log: exported and imported it is equal, and so is what that exports.
    #[test]
    fn an_import_is_what_was_exported(
        messages in vec((name(), message(), 0..3_i64), 0..30),
        ends in any::<bool>(),
    ) {
        let (log, mut time) = (log(), i64::MAX / 2);
        for (stream, message, later) in messages {
            time += later;
            let _ = log.append_with(&stream, message, AppendOptions::new().at(Timestamp::from_nanos(time)));
        }
        let mut text = exported(&log);
        if !ends {
            // The last line has no end, others end as on other systems, and some are empty.
            text.pop();
            text = String::from_utf8(text).unwrap().replace('\n', "\r\n\n").into_bytes();
        }
        let other = self::log();
        prop_assert_eq!(ndjson::import(&text[..], &other).unwrap(), log.end().get());
        prop_assert_eq!(all(&other), all(&log));
        prop_assert_eq!(exported(&other), exported(&log));
    }

    /// No text makes it panic, or append what it does not say.
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}", bytes in vec(any::<u8>(), 0..60)) {
        let log = Log::new();
        let _ = ndjson::import(text.as_bytes(), &log);
        let _ = ndjson::import(&bytes[..], &log);
        prop_assert_eq!(log.end(), 0);
    }
}

const GOOD: &str = r#"{"stream":"s","name":"E"}"#;

/// A line that is not one is named, nothing of it is appended, and everything before it is.
#[test]
fn a_bad_line_is_named() {
    for bad in [
        "{",
        "[]",
        "7",
        "null",
        r#"{"stream":"s"}"#,
        r#"{"name":"E"}"#,
        r#"{"stream":"s","name":"E"} {}"#,
        r#"{"stream":"s","name":"E","name":"E"}"#,
        r#"{"stream":"s","name":"E","colour":"red"}"#,
        r#"{"stream":"s","name":""}"#,
        r#"{"stream":"","name":"E"}"#,
        r#"{"stream":7,"name":"E"}"#,
        r#"{"stream":"s","name":null}"#,
        r#"{"stream":"s","name":"E","kind":"wish"}"#,
        r#"{"stream":"s","name":"E","position":-1}"#,
        r#"{"stream":"s","name":"E","revision":"x"}"#,
        r#"{"stream":"s","name":"E","time":"9223372036854775808"}"#,
        r#"{"stream":"s","name":"E","own_time":1.5}"#,
        r#"{"stream":"s","name":"E","tags":"a"}"#,
        r#"{"stream":"s","name":"E","headers":{"a":"b"}}"#,
        r#"{"stream":"s","name":"E","payload":1,"payload_base64":""}"#,
        r#"{"stream":"s","name":"E","payload_base64":"a"}"#,
        r#"{"stream":"s","name":"E","payload_base64":"Zh=="}"#,
        r#"{"stream":"s","name":"E","message_id":7}"#,
        "{\"stream\":\"s\",\"name\":\"\u{1}\"}",
    ] {
        let log = Log::new();
        let text = format!("{GOOD}\n\n{GOOD}\n{bad}\n{GOOD}\n");
        let error = ndjson::import(text.as_bytes(), &log).expect_err(bad);
        assert_eq!((error.line, error.imported, log.end().get()), (4, 2, 2), "{bad}: {error}");
        assert!(error.to_string().starts_with("line 4: "), "{error}");
    }
}

/// A line that the log refuses is named, too, though lines are appended in batches.
#[test]
fn a_refused_line_is_named() {
    let mut limits = Limits::default();
    limits.payload_bytes = 10;
    let log = Log::builder().limits(limits).build().unwrap();
    let text = format!("{GOOD}\n{GOOD}\n{}\n{GOOD}", r#"{"stream":"s","name":"E","payload":"123456789"}"#);
    let error = ndjson::import(text.as_bytes(), &log).unwrap_err();
    assert_eq!((error.line, error.imported, log.end().get()), (3, 2, 2));
    assert!(matches!(error.problem, Problem::Refused(AppendError::Limit(_))), "{error:?}");
    let error = ndjson::import(GOOD.as_bytes(), &self::log()).unwrap_err();
    assert!(matches!(error.problem, Problem::Refused(AppendError::MissingTime)), "{error:?}");
}

/// A line without end does not take memory without end.
#[test]
fn a_line_has_a_longest() {
    let endless = std::io::BufReader::new(std::io::repeat(b' '));
    let log = Log::new();
    let error = ndjson::import(endless, &log).unwrap_err();
    assert!(matches!(error.problem, Problem::TooLong { .. }), "{error:?}");
    assert_eq!(error.line, 1);
}

/// What others write, with numbers for times, is taken; what is said of an empty field is not.
#[test]
fn lines_of_others_are_read() {
    let log = log();
    let line = r#" {"time":5,"name":"E","stream":"s","payload":  {"b" : 1} ,"position":"9007199254740993","tags":[],"headers":[]} "#;
    assert_eq!(ndjson::import(line.as_bytes(), &log).unwrap(), 1);
    let envelope = log.get(1).unwrap();
    assert_eq!((envelope.payload(), envelope.time()), (&br#"{"b" : 1}"#[..], Some(Timestamp::from_nanos(5))));
    let text = String::from_utf8(exported(&log)).unwrap();
    let same = r#"{"position":1,"stream":"s","revision":0,"kind":"event","name":"E","time":"5","payload":{"b" : 1}}"#;
    assert_eq!(text.trim_end(), same);
}

/// A log on disk: when it was imported it is there.
#[cfg(feature = "durable")]
#[test]
fn an_import_is_synced() {
    let there = tempfile::tempdir().unwrap();
    let log = Log::open(there.path()).unwrap();
    let lines: Vec<_> =
        (0..5000).map(|n| format!("{{\"stream\":\"s-{}\",\"name\":\"E\",\"payload\":{n}}}", n % 7)).collect();
    let text = lines.join("\n");
    assert_eq!(ndjson::import(text.as_bytes(), &log).unwrap(), 5000);
    assert_eq!(log.journal().unwrap().synced(), 5000);
    let words = all(&log);
    drop(log);
    let log = Log::open(there.path()).unwrap();
    assert_eq!(all(&log), words);
    let other = self::log();
    ndjson::import(&exported(&log)[..], &other).unwrap();
    assert_eq!(all(&other), words);
}
