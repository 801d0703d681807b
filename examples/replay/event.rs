//! One line as an event. What a log has rules for, names and sizes, is left for the log to judge.

use annals::{InvalidMessage, Message, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[derive(Debug)]
pub struct Event {
    /// Its line in the input.
    pub line: u64,
    pub stream: String,
    pub name: String,
    pub time: Option<Timestamp>,
    pub tags: Vec<String>,
    /// As written in the line, byte for byte.
    data: Box<RawValue>,
}

#[derive(Deserialize)]
struct Fields {
    stream: String,
    #[serde(rename = "type")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    ts: Option<String>,
    tags: Vec<String>,
    data: Box<RawValue>,
}

/// `null` is a value, absence is not: by itself serde takes both for none.
fn nullable<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(from)
}

impl Event {
    /// # Errors
    /// Why the line is not an event.
    pub fn parse(line: u64, bytes: &[u8]) -> Result<Self, String> {
        // Before serde: it does not look into what it passes over.
        let text = std::str::from_utf8(bytes).map_err(|e| format!("invalid UTF-8 at byte {}", e.valid_up_to()))?;
        // Before serde: it takes an array for the fields in their order.
        if !text.trim_start().starts_with('{') {
            return Err("not a JSON object".to_owned());
        }
        let fields: Fields = serde_json::from_str(text).map_err(|error| in_line(&error))?;
        let time = fields.ts.map(|ts| time(&ts)).transpose()?;
        Ok(Self { line, stream: fields.stream, name: fields.name, time, tags: fields.tags, data: fields.data })
    }

    pub fn payload(&self) -> &[u8] {
        self.data.get().as_bytes()
    }

    /// The message that borrows all of it.
    ///
    /// # Errors
    /// A name that is not valid.
    pub fn message(&self) -> Result<Message<'_>, InvalidMessage> {
        let mut message = Message::builder(&self.name).payload(self.payload());
        if let Some(time) = self.time {
            message = message.own_time(time);
        }
        for tag in &self.tags {
            message = message.tag(tag);
        }
        message.build()
    }
}

/// An error of serde's, without the line it believes to be in.
fn in_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

fn time(text: &str) -> Result<Timestamp, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|error| format!("ts {text:?}: {error}"))?;
    i64::try_from(time.unix_timestamp_nanos())
        .map(Timestamp::from_nanos)
        .map_err(|_| format!("ts {text:?}: not between the years 1677 and 2262"))
}
