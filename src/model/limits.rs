//! How much a log accepts.

/// The bounds of one log. Each default suits input from strangers.
///
/// ```
/// use annals::{Limits, Log, Message};
///
/// let mut limits = Limits::default();
/// limits.payload_bytes = 4;
/// let log = Log::builder().limits(limits).build()?;
/// let refused = log.append("a", Message::event("E", "12345")?).unwrap_err();
/// assert_eq!(refused.to_string(), "5 bytes of payload are more than the 4 this log allows");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one payload. Default 1 MiB.
    pub payload_bytes: usize,
    /// Messages in one batch. Default 1,024.
    pub batch_len: usize,
    /// Streams that the log knows, handles to streams never written included. Default 1,000,000. While several threads
    /// create streams at once, one may be refused although another then fails too.
    pub streams: usize,
    /// Bytes of a stream id or message name, at most 255. Default 255.
    pub name_bytes: usize,
    /// Bytes of the tags, headers and ids of one message, as stored: each text counts its length and 1 to 4 bytes.
    /// Default 8 KiB.
    pub metadata_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_bytes: 1024 * 1024,
            batch_len: 1024,
            streams: 1_000_000,
            name_bytes: super::name::MAX_BYTES,
            metadata_bytes: 8 * 1024,
        }
    }
}
