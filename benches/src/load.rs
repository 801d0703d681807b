//! The record that everybody stores: a stream, the name "Deposited", 64 bytes.

use annals::{Kind, Log, Message, MessageBuilder, Name};
use bytes::Bytes;

pub const DEPOSITED: Name<'static> = Name::from_static("Deposited");
pub const WITHDRAWN: Name<'static> = Name::from_static("Withdrawn");
pub static CONTENT: [u8; 64] = [b'x'; 64];
/// Shared by all records: cloning it counts nothing.
pub static SHARED: Bytes = Bytes::from_static(&CONTENT);

/// What a rival stores of an envelope. Without position and revision: those are its places in what it lies in.
#[derive(Clone)]
pub struct Record<S = u32> {
    pub stream: S,
    pub name: &'static str,
    pub payload: Bytes,
}

impl<S> Record<S> {
    #[inline]
    pub fn shared(stream: S) -> Self {
        Self { stream, name: "Deposited", payload: std::hint::black_box(&SHARED).clone() }
    }

    #[inline]
    pub fn copied(stream: S) -> Self {
        Self { stream, name: "Deposited", payload: Bytes::copy_from_slice(std::hint::black_box(&CONTENT)) }
    }
}

/// A message with the shared payload.
#[inline]
pub fn shared() -> Message<'static> {
    message(std::hint::black_box(&SHARED).clone())
}

/// A message whose payload is to be copied.
#[inline]
pub fn copied() -> Message<'static> {
    message(std::hint::black_box(&CONTENT))
}

#[inline]
fn message<'a>(payload: impl Into<annals::Payload<'a>>) -> Message<'a> {
    match Message::event(DEPOSITED, payload) {
        Ok(message) => message,
        Err(_) => unreachable!("the name is valid"),
    }
}

/// A log that keeps no time.
pub fn timeless() -> Log {
    Log::builder().no_clock().build().expect("the settings are in range")
}

/// Stream ids as applications have them.
pub fn ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("account-{n:06}")).collect()
}

/// Visits `0..count` over and over, not in order: the n-th place.
#[inline]
pub fn scattered(n: u64, count: usize) -> usize {
    // The step is a prime that divides none of the counts in use.
    (n.wrapping_mul(61_927) % count as u64) as usize
}

/// What a message says, in texts that are somebody else's: both sides copy them.
#[derive(Clone, Copy)]
pub struct Said<'t> {
    pub stream: &'t str,
    pub kind: Kind,
    pub name: &'static str,
    pub tag: &'t str,
    pub correlation: Option<&'t str>,
    pub session: Option<&'t str>,
    pub message_id: Option<&'t str>,
}

impl<'t> Said<'t> {
    /// As a message with 64 bytes to be copied.
    pub fn message(&self) -> Message<'t> {
        let mut message = Message::builder(self.name).kind(self.kind).payload(&CONTENT).tag(self.tag);
        message = self.correlation.into_iter().fold(message, MessageBuilder::correlation_id);
        message = self.session.into_iter().fold(message, MessageBuilder::session_id);
        message = self.message_id.into_iter().fold(message, MessageBuilder::message_id);
        message.build().expect("the names are valid")
    }
}

/// The texts of an application: 1,000 streams in 10 categories, 20 names, 10,000 tags, a correlation for each 20 messages, a
/// session for each 100, and an id for each.
pub struct Texts {
    streams: Vec<String>,
    tags: Vec<String>,
    numbered: Vec<String>,
}

impl Texts {
    pub const STREAMS: usize = 1_000;
    const NAMES: [&'static str; 20] = [
        "Opened",
        "Deposited",
        "Withdrawn",
        "Closed",
        "Frozen",
        "Placed",
        "Paid",
        "Sent",
        "Returned",
        "Refunded",
        "Invited",
        "Joined",
        "Left",
        "Renamed",
        "Moved",
        "Booked",
        "Cancelled",
        "Confirmed",
        "Reminded",
        "Expired",
    ];

    /// For so many messages with ids, made once; those after them have none.
    pub fn new(messages: usize) -> Self {
        Self {
            streams: (0..Self::STREAMS).map(|n| format!("category{}-{n:06}", n % 10)).collect(),
            tags: (0..10_000).map(|n| format!("account:{n:06}")).collect(),
            numbered: (0..messages).map(|n| format!("{n:08}-4bf9-41d2-8f0e-3d7c5a9b1e62")).collect(),
        }
    }

    pub fn streams(&self) -> &[String] {
        &self.streams
    }

    /// The stream of the n-th message.
    pub fn stream_of(n: u64) -> usize {
        scattered(n, Self::STREAMS)
    }

    /// What the n-th message says.
    pub fn said(&self, n: u64) -> Said<'_> {
        let numbered = |n: u64| self.numbered.get(n as usize).map(String::as_str);
        Said {
            stream: &self.streams[Self::stream_of(n)],
            kind: Kind::Event,
            name: Self::NAMES[scattered(n, Self::NAMES.len())],
            tag: &self.tags[scattered(n, self.tags.len())],
            correlation: numbered(n / 20),
            session: numbered(n / 100),
            message_id: numbered(n),
        }
    }
}
