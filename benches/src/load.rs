//! The record that everybody stores: a stream, the name "Deposited", 64 bytes.

use annals::{Log, Message, Name};
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
