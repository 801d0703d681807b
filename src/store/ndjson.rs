//! Logs as text: one JSON object a line, to be read by other tools, kept, or taken into another log.
//!
//! ```
//! use annals::store::ndjson;
//! use annals::{Log, Message};
//!
//! let log = Log::new();
//! log.append("account-1", Message::event("Deposited", r#"{"amount":100}"#)?)?;
//! let mut text = Vec::new();
//! ndjson::export(log.read(), &mut text)?;
//! assert!(text.ends_with(b"\"payload\":{\"amount\":100}}\n"));
//!
//! let other = Log::new();
//! ndjson::import(&text[..], &other)?;
//! assert_eq!(other.get(1).unwrap().payload(), br#"{"amount":100}"#);
//! assert_eq!(other.get(1).unwrap().time(), log.get(1).unwrap().time());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A line
//!
//! | field | what |
//! | --- | --- |
//! | `position`, `revision` | where it was: a number; from 2^53 on a text with it, as many readers know doubles only |
//! | `stream`, `name` | texts; every line has them |
//! | `kind` | `"event"` or `"command"`; an event when it is not there |
//! | `time`, `own_time` | nanoseconds since 1970 in a text: they are beyond 2^53 |
//! | `request_id`, `correlation_id`, `causation_id`, `session_id`, `message_id` | texts |
//! | `tags` | an array of texts |
//! | `headers` | an array of pairs, `[["key","value"]]`: in their order |
//! | `payload` | when the payload is JSON on one line, without space around it: that, byte for byte |
//! | `payload_base64` | any other payload, as base64 |
//!
//! What a message does not have is left out, an empty payload, too. Which payload is JSON, its field says. A tool that writes
//! JSON anew, other spaces or other spellings of numbers, changes a payload; what it means stays. What was one batch is not
//! told: each line is imported for itself.

use std::fmt::Write as _;
use std::io::{self, BufRead, Read as _, Write};

use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use super::base64;
use crate::log::{Ack, AppendError, AppendOptions, Batch, Envelope, Log, Read, Rejected, Stopped};
use crate::model::{InvalidMessage, Kind, Message, MessageBuilder, Timestamp};

/// From here on numbers are texts.
const EXACT: u64 = 1 << 53;
/// So many bytes of payload are appended at once, about.
const AT_ONCE: usize = 1 << 20;

/// Why an export ended early. What was written until then are whole lines, and perhaps a part of one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// It could not be written.
    #[error("could not be written: {0}")]
    Write(#[from] io::Error),
    /// What the log is kept on could not be read.
    #[error(transparent)]
    Unreadable(#[from] Stopped),
}

/// Why an import ended early. Everything on the lines before was appended, nothing of this line, nor of those after it.
#[derive(Debug, Error)]
#[error("line {line}: {problem}")]
#[non_exhaustive]
pub struct ImportError {
    /// Which line, from 1 on. Lines with nothing in them count.
    pub line: u64,
    /// How many envelopes were appended.
    pub imported: u64,
    /// What is wrong.
    #[source]
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// It could not be read.
    #[error("could not be read: {0}")]
    Read(#[from] io::Error),
    /// It has more bytes than any message that the log allows.
    #[error("more than {bytes} bytes")]
    #[non_exhaustive]
    TooLong {
        /// How many a line may have.
        bytes: u64,
    },
    /// It is no JSON object, or one with the same field twice.
    #[error("not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// A field is not what it should be, is missing, or is none that is known.
    #[error("field {field:?} {what}")]
    #[non_exhaustive]
    Field {
        /// Its name.
        field: Box<str>,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It is not a message.
    #[error(transparent)]
    Message(#[from] InvalidMessage),
    /// The log refused it.
    #[error(transparent)]
    Refused(AppendError),
    /// All lines were appended, and the disk failed before it had them.
    #[error(transparent)]
    NotSynced(Stopped),
}

/// Writes what a read selects, a line for each envelope; returns how many. Hand it something with a buffer; it is flushed.
///
/// What is removed from the log meanwhile is left out.
///
/// # Errors
/// [`ExportError`].
pub fn export<S>(read: Read<S>, mut to: impl Write) -> Result<u64, ExportError> {
    let mut cursor = read.cursor();
    let (mut line, mut count) = (String::new(), 0);
    while let Some(envelope) = cursor.next() {
        line.clear();
        write_line(envelope, &mut line);
        to.write_all(line.as_bytes())?;
        count += 1;
    }
    if let Some(failure) = cursor.failure() {
        return Err(failure.clone().into());
    }
    to.flush()?;
    Ok(count)
}

fn write_line(envelope: &Envelope, line: &mut String) {
    let number = |number: u64| if number < EXACT { number.to_string() } else { format!("\"{number}\"") };
    let time = |time: Timestamp| format!("\"{}\"", time.as_nanos());
    let _ = write!(line, "{{\"position\":{}", number(envelope.position().get()));
    let mut put = |field: &str, value: &str| {
        let _ = write!(line, ",\"{field}\":{value}");
    };
    put("stream", &text(envelope.stream()));
    put("revision", &number(envelope.revision().get()));
    put("kind", if envelope.kind() == Kind::Command { "\"command\"" } else { "\"event\"" });
    put("name", &text(envelope.name()));
    for (field, at) in [("time", envelope.time()), ("own_time", envelope.own_time())] {
        if let Some(at) = at {
            put(field, &time(at));
        }
    }
    for (field, id) in [
        ("request_id", envelope.request_id()),
        ("correlation_id", envelope.correlation_id()),
        ("causation_id", envelope.causation_id()),
        ("session_id", envelope.session_id()),
        ("message_id", envelope.message_id()),
    ] {
        if let Some(id) = id {
            put(field, &text(id));
        }
    }
    let tags: Vec<_> = envelope.tags().map(text).collect();
    if !tags.is_empty() {
        put("tags", &format!("[{}]", tags.join(",")));
    }
    let headers: Vec<_> = envelope.headers().map(|(key, value)| format!("[{},{}]", text(key), text(value))).collect();
    if !headers.is_empty() {
        put("headers", &format!("[{}]", headers.join(",")));
    }
    let payload = envelope.payload();
    match json_on_one_line(payload) {
        Some(json) => put("payload", json),
        None if payload.is_empty() => {}
        None => put("payload_base64", &text(&base64::encode(payload))),
    }
    line.push_str("}\n");
}

fn text(text: &str) -> String {
    serde_json::to_string(text).expect("a text is always JSON")
}

/// The payload as JSON that reads back byte for byte.
fn json_on_one_line(payload: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(payload).ok().filter(|text| !text.contains(['\n', '\r']))?;
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    (raw.get() == text).then_some(text)
}

/// Appends what [`export`] wrote, or what somebody else wrote in that form: in order, some lines at once; returns how many.
///
/// Everything is as it was, but for what is the log's: positions follow its end, revisions those of its streams. Times are kept
/// in a log that has times, but none is before the log's last one. Lines with nothing in them are passed over. On disk it
/// returns when the disk has all of it. Blocks as `from` does; subscribers are called as for any append.
///
/// # Errors
/// [`ImportError`], with the number of the line.
pub fn import(from: impl BufRead, log: &Log) -> Result<u64, ImportError> {
    let mut import = Import { log, waiting: Vec::new(), bytes: 0, imported: 0 };
    let ran = import.run(from);
    let synced = sync(log);
    match (ran, synced) {
        (Ok(_), Ok(())) => Ok(import.imported),
        (Err((line, problem)), _) => Err(ImportError { line, imported: import.imported, problem }),
        (Ok(line), Err(stopped)) => {
            Err(ImportError { line, imported: import.imported, problem: Problem::NotSynced(stopped) })
        }
    }
}

#[cfg(feature = "durable")]
fn sync(log: &Log) -> Result<(), Stopped> {
    log.sync().map(drop)
}

#[cfg(not(feature = "durable"))]
#[allow(clippy::unnecessary_wraps, reason = "a log on disk can fail")]
fn sync(_: &Log) -> Result<(), Stopped> {
    Ok(())
}

struct Import<'l> {
    log: &'l Log,
    /// Lines that are to be appended.
    waiting: Vec<Line>,
    /// Bytes of their payloads.
    bytes: usize,
    imported: u64,
}

struct Line {
    number: u64,
    stream: String,
    time: Option<Timestamp>,
    message: Message<'static>,
}

type Failed = (u64, Problem);

impl Import<'_> {
    /// The number of the last line.
    fn run(&mut self, mut from: impl BufRead) -> Result<u64, Failed> {
        let longest = longest(self.log);
        let (mut number, mut bytes) = (0, Vec::new());
        loop {
            bytes.clear();
            let next = number + 1;
            let read = match from.by_ref().take(longest + 1).read_until(b'\n', &mut bytes) {
                Ok(0) => {
                    self.append()?;
                    return Ok(number);
                }
                Ok(read) if read as u64 > longest => Err(Problem::TooLong { bytes: longest }),
                Ok(_) => Ok(()),
                Err(error) => Err(error.into()),
            };
            number = next;
            if read.is_ok() && bytes.trim_ascii().is_empty() {
                continue;
            }
            match read.and_then(|()| parse(number, &bytes)) {
                Ok(line) => self.add(line)?,
                Err(problem) => {
                    // What comes before it comes first.
                    self.append()?;
                    return Err((number, problem));
                }
            }
        }
    }

    fn add(&mut self, line: Line) -> Result<(), Failed> {
        // A batch has one time.
        let other = self.waiting.first().is_some_and(|first| first.time != line.time);
        if other || self.waiting.len() >= self.log.limits().batch_len || self.bytes >= AT_ONCE {
            self.append()?;
        }
        self.bytes += line.message.payload().len();
        self.waiting.push(line);
        Ok(())
    }

    /// Appends what is waiting. When that is refused, line for line, to see which one it is.
    fn append(&mut self) -> Result<(), Failed> {
        let lines = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let Some(first) = lines.first() else { return Ok(()) };
        if lines.len() > 1 {
            let batch = Batch::new().acknowledge(Ack::Memory);
            let batch = first.time.map_or(batch.clone(), |time| batch.at(time));
            let add = |batch: Batch<'static>, line: &Line| batch.add(line.stream.clone(), line.message.clone());
            if self.log.append_batch(lines.iter().fold(batch, add)).is_ok() {
                self.imported += lines.len() as u64;
                return Ok(());
            }
        }
        for Line { number, stream, time, message } in lines {
            let options = AppendOptions::new().acknowledge(Ack::Memory);
            let options = time.map_or(options, |time| options.at(time));
            let refused = |Rejected { error, .. }: Rejected<_>| (number, Problem::Refused(error));
            self.log.append_with(&stream, message, options).map_err(refused)?;
            self.imported += 1;
        }
        Ok(())
    }
}

/// How long a line with a message that the log allows can be, whoever wrote it.
fn longest(log: &Log) -> u64 {
    let limits = log.limits();
    // Any byte of a text may be written as `\u0000`; three of base64 are four. Names are short.
    let texts = limits.metadata_bytes.saturating_mul(6).saturating_add(limits.payload_bytes.saturating_mul(2));
    (texts as u64).saturating_add(1 << 16)
}

fn field(field: &str, what: &'static str) -> Problem {
    Problem::Field { field: field.into(), what }
}

fn parse(number: u64, bytes: &[u8]) -> Result<Line, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let fields = json.deserialize_map(Fields)?;
    json.end()?;
    let named = fields.iter().find(|(key, _)| key == "name").ok_or_else(|| field("name", "is missing"))?;
    let name: String = serde_json::from_str(named.1.get()).map_err(|_| field("name", "is not a text"))?;
    let (mut stream, mut time, mut payload) = (None, None, None);
    let mut message = Message::builder(name);
    for (key, raw) in fields {
        let text = || serde_json::from_str::<String>(raw.get()).map_err(|_| field(&key, "is not a text"));
        message = match &*key {
            "position" | "revision" => {
                whole::<u64>(raw).ok_or_else(|| field(&key, "is not a whole number"))?;
                message
            }
            "stream" => {
                stream = Some(text()?);
                message
            }
            "name" => message,
            "kind" => match &*text()? {
                "event" => message.kind(Kind::Event),
                "command" => message.kind(Kind::Command),
                _ => return Err(field(&key, "is neither \"event\" nor \"command\"")),
            },
            "time" | "own_time" => {
                let at = whole(raw).map(Timestamp::from_nanos).ok_or_else(|| field(&key, "is not nanoseconds"))?;
                if key == "time" {
                    time = Some(at);
                    message
                } else {
                    message.own_time(at)
                }
            }
            "request_id" => message.request_id(text()?),
            "correlation_id" => message.correlation_id(text()?),
            "causation_id" => message.causation_id(text()?),
            "session_id" => message.session_id(text()?),
            "message_id" => message.message_id(text()?),
            "tags" => {
                let tags: Vec<String> =
                    serde_json::from_str(raw.get()).map_err(|_| field(&key, "is not an array of texts"))?;
                tags.into_iter().fold(message, MessageBuilder::tag)
            }
            "headers" => {
                let headers: Vec<(String, String)> =
                    serde_json::from_str(raw.get()).map_err(|_| field(&key, "is not an array of pairs of texts"))?;
                headers.into_iter().fold(message, |message, (key, value)| message.header(key, value))
            }
            "payload" | "payload_base64" if payload.is_some() => return Err(field(&key, "is a second payload")),
            "payload" => {
                payload = Some(raw.get().as_bytes().to_vec());
                message
            }
            "payload_base64" => {
                payload = Some(base64::decode(&text()?).ok_or_else(|| field(&key, "is not base64"))?);
                message
            }
            _ => return Err(field(&key, "is none that is known")),
        };
    }
    let stream = stream.ok_or_else(|| field("stream", "is missing"))?;
    let message = message.payload(payload.unwrap_or_default()).build()?;
    Ok(Line { number, stream, time, message })
}

/// A number, or a text with one.
fn whole<N: std::str::FromStr>(raw: &RawValue) -> Option<N> {
    let raw = raw.get();
    raw.strip_prefix('"').map_or(Some(raw), |rest| rest.strip_suffix('"'))?.parse().ok()
}

/// The fields of an object, each once, with their values as text.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut fields: Self::Value = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, _>()? {
            if fields.iter().any(|(other, _)| *other == key) {
                return Err(M::Error::custom(format_args!("field {key:?} is there twice")));
            }
            // More than any line of ours has.
            if fields.len() > 32 {
                return Err(M::Error::custom("more fields than there are"));
            }
            fields.push((key, value));
        }
        Ok(fields)
    }
}
