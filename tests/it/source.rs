//! Envelopes that come from elsewhere are like those of a log, and outlive where they came from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use annals::bytes::Bytes;
use annals::{
    Envelope, EnvelopeError, EnvelopeSource, InvalidName, Kind, Limit, Limits, Log, Message, Position, Query, Revision,
    Timestamp,
};

fn event(payload: &[u8]) -> Message<'_> {
    Message::event("E", payload).unwrap()
}

/// Everything that an envelope tells of its message and its place.
fn told(envelope: &Envelope) -> String {
    let tags: Vec<_> = envelope.tags().collect();
    let headers: Vec<_> = envelope.headers().collect();
    format!(
        "{envelope:?} {} {:?} {:?} {:?} {:?} {:?} {:?} {tags:?} {headers:?} {:?} {:?}",
        envelope.category(),
        envelope.time(),
        envelope.own_time(),
        envelope.request_id(),
        envelope.correlation_id(),
        envelope.causation_id(),
        envelope.kind(),
        envelope.payload(),
        envelope.payload_bytes(),
    )
}

/// An envelope from elsewhere tells what the one of a log tells that has the same message at the same place: with each
/// kind of payload, with and without attributes, and time.
#[test]
fn an_envelope_from_elsewhere_is_like_one_of_a_log() {
    let text = "t".repeat(200);
    let long = vec![3; 5000];
    let payloads: [fn(&[u8]) -> annals::Payload<'_>; 4] = [
        |_| "".into(),
        |long| (&long[..1024]).into(),
        |long| (&long[..1025]).into(),
        |long| Bytes::copy_from_slice(long).into(),
    ];
    for (with_time, with_attributes) in [(false, false), (false, true), (true, false), (true, true)] {
        let log = if with_time { Log::builder().system_clock() } else { Log::builder().no_clock() }.build().unwrap();
        let mut source = EnvelopeSource::new();
        for (at, payload) in payloads.iter().enumerate() {
            let message = || {
                let message = Message::builder("Name").payload(payload(&long));
                let message = if at % 2 == 0 { message } else { message.kind(Kind::Command) };
                let message = if with_attributes {
                    let message =
                        message.tag("one").tag(&*text).header("key", "value").own_time(Timestamp::from_nanos(5));
                    message.request_id("r").correlation_id("c").causation_id("u")
                } else {
                    message
                };
                message.build().unwrap()
            };
            log.append("account-1", message()).unwrap();
            let ours = log.read().iter().last().unwrap();
            let made = source.envelope("account-1", ours.position(), ours.revision(), ours.time(), message()).unwrap();
            assert_eq!(made.time().is_some(), with_time);
            assert_eq!(told(&made), told(&ours));
            for query in [Query::stream("account-1"), Query::name("Name"), Query::tag("one"), Query::tag("two")] {
                let query = query.unwrap();
                assert_eq!(made.matches(&query), ours.matches(&query));
            }
        }
    }
}

/// Any place is a place, but position 0.
#[test]
fn a_source_asks_no_order() {
    let mut source = EnvelopeSource::default();
    for (position, revision) in [(u64::MAX, 0), (1, u64::MAX), (1, 5), (7, 5)] {
        let made = source.envelope("s", position, revision, None, event(b"")).unwrap();
        assert_eq!((made.position(), made.revision()), (Position::new(position), Revision::new(revision)));
    }
    let refused = source.envelope("s", 0, 0, None, event(b"")).unwrap_err();
    assert_eq!(refused, EnvelopeError::NoPosition);
    assert_eq!(refused.to_string(), "no envelope has position 0");
}

/// What is too large or not a name is refused, on the bounds; also what no log would allow.
#[test]
fn a_source_keeps_to_its_limits() {
    let mut limits = Limits::default();
    (limits.payload_bytes, limits.name_bytes, limits.metadata_bytes) = (4, 3, 40);
    let mut source = EnvelopeSource::with_limits(limits);
    let mut refusal = |stream: &str, message: Message<'_>| source.envelope(stream, 1, 0, None, message).err();
    let limit = |refused: Option<EnvelopeError>| match refused {
        Some(EnvelopeError::Limit(exceeded)) => exceeded.limit,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal("abc", Message::event("abc", "1234").unwrap()), None);
    assert_eq!(limit(refusal("abcd", event(b""))), Limit::NameBytes);
    assert_eq!(limit(refusal("abc", Message::event("abcd", "").unwrap())), Limit::NameBytes);
    assert_eq!(limit(refusal("abc", event(b"12345"))), Limit::PayloadBytes);
    let tagged = Message::builder("E").tag("t".repeat(41)).build().unwrap();
    assert_eq!(limit(refusal("abc", tagged)), Limit::MetadataBytes);
    assert_eq!(refusal("", event(b"")), Some(EnvelopeError::InvalidStream(InvalidName::Empty)));

    (limits.payload_bytes, limits.name_bytes, limits.metadata_bytes) = (usize::MAX, usize::MAX, usize::MAX);
    let mut source = EnvelopeSource::with_limits(limits);
    let mut refusal = |stream: &str, message: Message<'_>| source.envelope(stream, 1, 0, None, message).err();
    assert_eq!(refusal(&"s".repeat(255), event(&vec![0; 3 << 20])), None);
    assert!(matches!(refusal(&"s".repeat(256), event(b"")), Some(EnvelopeError::InvalidStream(_))));
    let tag = "t".repeat(255);
    let tagged = (0..70_000).fold(Message::builder("E"), |message, n| message.header(format!("{n}"), &*tag));
    assert_eq!(limit(refusal("s", tagged.build().unwrap())), Limit::MetadataBytes);
}

/// Envelopes are held and dropped in any order, by any thread, long after their source, whatever it knew.
#[test]
fn envelopes_outlive_their_source() {
    let mut limits = Limits::default();
    limits.streams = 10;
    let mut source = EnvelopeSource::with_limits(limits);
    let mut held = Vec::new();
    let text = |n: u64| n.to_string().repeat(usize::try_from(n % 50).unwrap() + 1);
    for n in 1..=3000 {
        let payload = if n % 3 == 0 { Bytes::from(text(n)).into() } else { annals::Payload::from(text(n)) };
        let envelope = source.envelope(&text(n % 23), n, n, None, Message::event("E", payload).unwrap()).unwrap();
        if n % 2 == 0 {
            held.push(envelope.clone());
        }
        // Sources may go from thread to thread.
        if n % 1000 == 0 {
            source = thread::spawn(move || source).join().unwrap();
        }
    }
    drop(source);
    let (odd, even): (Vec<_>, Vec<_>) = held.into_iter().partition(|envelope| envelope.position().get() % 4 == 0);
    let check = move |envelopes: Vec<Envelope>| {
        for envelope in envelopes {
            let n = envelope.position().get();
            assert_eq!((envelope.stream(), envelope.payload()), (&*text(n % 23), text(n).as_bytes()));
        }
    };
    let other = thread::spawn(move || check(odd));
    check(even);
    other.join().unwrap();
}

/// A payload is moved, and dropped once: with the last envelope, or with what was refused.
#[test]
fn a_payload_is_dropped_once() {
    struct Owner(Arc<AtomicU64>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"owned"
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicU64::new(0));
    let message = || Message::event("E", Bytes::from_owner(Owner(dropped.clone()))).unwrap();
    let mut source = EnvelopeSource::new();
    let envelope = source.envelope("s", 1, 0, None, message()).unwrap();
    let payload = envelope.payload_bytes();
    drop((source, envelope));
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    drop(payload);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    EnvelopeSource::new().envelope("s", 0, 0, None, message()).unwrap_err();
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
}
