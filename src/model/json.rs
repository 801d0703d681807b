//! What an item of a query asks of payloads that are JSON, and whether a payload is so.
//!
//! What is asked is put together once, when the query is built. A payload is read by `serde_json`, once, to its end, and no
//! tree of it is built: each key and each value is taken as the text that it is ([`RawValue`]), and what is asked for is
//! compared with that text, a nested value by reading that text in turn. `serde_json::Value` would depend on features
//! that anybody in the same program can turn on: with `arbitrary_precision` numbers come as maps, and with `raw_value` or
//! with that, an object with a certain key becomes something else. Memory is allocated for texts with escapes, for values
//! nested in what is skipped, for objects of more than 64 wanted keys, and to refuse what is no JSON.
//!
//! What is JSON is what `serde_json` skips: the grammar of RFC 8259 and nothing else. Its parser of values refuses two
//! things that the grammar allows and that skipping does not look for, and here both are JSON everywhere. One is the
//! escape of half of a surrogate pair; a text or a key with it is equal to none, as no `str` has it. The other is to be
//! nested more than 127 levels; skipping keeps no stack, and comparing goes as deep as what is asked for, no deeper.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Deserializer, Value};
use smallvec::SmallVec;

/// What an item asks: any object or array whose values are these.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Fields {
    entries: Entries,
    /// The keys that are indices of arrays, ascending, with their places in `entries`.
    indices: Vec<(u64, usize)>,
}

/// Keys, ascending, and what they must be.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Entries(Vec<(Box<str>, Wanted)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// Equal to nothing: what no payload can be.
    Nothing,
    Null,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
    Array(Box<[Wanted]>),
    Object(Entries),
}

/// A number by its value. Integers of 64 bits are exact, others are doubles, as in most readers of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    /// From `i64::MIN` to `u64::MAX`, however it was written.
    Integer(i128),
    /// The bits of any other double. Never zero, and never not a number, so that equal bits are equal values.
    Double(u64),
}

/// What an object may have besides the keys that are asked for.
#[derive(Clone, Copy, PartialEq)]
enum Others {
    Allowed,
    Refused,
}

impl Fields {
    /// Asks for one more value. Two values of one key are more than a payload can have.
    pub(super) fn add(&mut self, key: &str, value: &Value) {
        let entries = &mut self.entries.0;
        match entries.binary_search_by(|(other, _)| (**other).cmp(key)) {
            Ok(at) if entries[at].1 == Wanted::new(value) => {}
            Ok(at) => entries[at].1 = Wanted::Nothing,
            Err(at) => entries.insert(at, (key.into(), Wanted::new(value))),
        }
        let indices = entries.iter().enumerate().filter_map(|(at, (key, _))| Some((index_of(key)?, at)));
        self.indices = indices.collect();
        self.indices.sort_unstable();
    }

    /// Whether a payload is JSON, an object or an array, and has all that is asked for.
    pub(super) fn matches(&self, payload: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(payload) else { return false };
        let text = text.trim_start_matches([' ', '\n', '\t', '\r']);
        match text.as_bytes().first() {
            Some(b'{') => self.entries.are_in(text, Others::Allowed),
            Some(b'[') if self.indices.len() == self.entries.0.len() => {
                let wanted = self.indices.iter().map(|(index, at)| (*index, &self.entries.0[*at].1));
                are_in_array(wanted, text, Others::Allowed)
            }
            _ => false,
        }
    }
}

/// The index that a key is in an array: decimal, as numbers are printed.
fn index_of(key: &str) -> Option<u64> {
    let canonical = key == "0" || key.starts_with(|first| matches!(first, '1'..='9'));
    // A sign is no digit, so what begins with one is refused before.
    if canonical { key.parse().ok() } else { None }
}

impl Entries {
    /// Whether a text is an object with these. Of several values of one key the last one counts.
    fn are_in(&self, object: &str, others: Others) -> bool {
        let mut equal: SmallVec<[bool; 64]> = SmallVec::from_elem(false, self.0.len());
        let mut only_wanted = true;
        let is_json = read(object, |key, value| match self.place_of(key) {
            Some(at) => equal[at] = self.0[at].1.is(value),
            None => only_wanted = false,
        });
        is_json && (only_wanted || others == Others::Allowed) && equal.iter().all(|equal| *equal)
    }

    fn place_of(&self, key: &str) -> Option<usize> {
        let key = meaning(key)?;
        self.0.binary_search_by(|(wanted, _)| (**wanted).cmp(&key)).ok()
    }
}

/// Whether a text is an array with these values, each at its index. The indices ascend.
fn are_in_array<'w>(wanted: impl Iterator<Item = (u64, &'w Wanted)>, array: &str, others: Others) -> bool {
    let (mut wanted, mut equal, mut index) = (wanted.peekable(), true, 0);
    let is_json = read(array, |_, value| {
        match wanted.next_if(|(wanted, _)| *wanted == index) {
            Some((_, wanted)) => equal &= wanted.is(value),
            None => equal &= others == Others::Allowed,
        }
        index += 1;
    });
    is_json && equal && wanted.next().is_none()
}

impl Wanted {
    fn new(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(value) => Number::new(value).map_or(Self::Nothing, Self::Number),
            Value::String(value) => Self::Text(value.as_str().into()),
            Value::Array(values) => Self::Array(values.iter().map(Self::new).collect()),
            Value::Object(values) => {
                let mut entries: Vec<_> =
                    values.iter().map(|(key, value)| (key.as_str().into(), Self::new(value))).collect();
                entries.sort_unstable_by(|(one, _): &(Box<str>, _), (other, _)| one.cmp(other));
                Self::Object(Entries(entries))
            }
        }
    }

    /// Whether a JSON text without blanks around it is this value. What a text begins with tells its sort.
    fn is(&self, text: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Null => text == "null",
            Self::Bool(wanted) => text == if *wanted { "true" } else { "false" },
            Self::Number(wanted) => Number::read(text) == Some(*wanted),
            Self::Text(wanted) => meaning(text).is_some_and(|text| *text == **wanted),
            Self::Array(wanted) => text.starts_with('[') && are_in_array((0..).zip(wanted), text, Others::Refused),
            Self::Object(wanted) => text.starts_with('{') && wanted.are_in(text, Others::Refused),
        }
    }
}

/// The characters that a JSON text in quotes stands for. None when there are no quotes, or when it has half of a
/// surrogate pair.
fn meaning(text: &str) -> Option<Cow<'_, str>> {
    let quoted = text.strip_prefix('"')?.strip_suffix('"')?;
    if quoted.contains('\\') { serde_json::from_str(text).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(quoted)) }
}

/// Reads an object or an array to the end of the text: each key and value, without blanks around it, goes to `each`. The
/// values of an array have an empty text for a key, which no key is, as it has quotes. False when it is no JSON.
fn read<'t>(text: &'t str, each: impl FnMut(&'t str, &'t str)) -> bool {
    let mut json = Deserializer::from_str(text);
    json.deserialize_any(Each(each)).is_ok() && json.end().is_ok()
}

struct Each<F>(F);

impl<'t, F: FnMut(&'t str, &'t str)> Visitor<'t> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'t>>(mut self, mut object: A) -> Result<(), A::Error> {
        while let Some((key, value)) = object.next_entry::<&RawValue, &RawValue>()? {
            (self.0)(key.get(), value.get());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(mut self, mut array: A) -> Result<(), A::Error> {
        while let Some(value) = array.next_element::<&RawValue>()? {
            (self.0)("", value.get());
        }
        Ok(())
    }
}

impl Number {
    /// None when it is larger than any double.
    fn new(number: &serde_json::Number) -> Option<Self> {
        let integer = number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from));
        integer.map(Self::Integer).or_else(|| Self::of_double(number.as_f64()?))
    }

    /// `text` is JSON. None when it is no number, too: what a number of Rust may be beyond those of JSON (`inf`, `NaN`, a
    /// `+`) no JSON begins with.
    fn read(text: &str) -> Option<Self> {
        // Longer integers are none of 64 bits.
        let integer = if text.len() <= 20 { text.parse().ok() } else { None };
        integer
            .filter(|integer| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(integer))
            .map(Self::Integer)
            .or_else(|| Self::of_double(text.parse().ok()?))
    }

    fn of_double(double: f64) -> Option<Self> {
        const LOWEST: f64 = -9_223_372_036_854_775_808.0;
        const BEYOND: f64 = 18_446_744_073_709_551_616.0;
        if double.fract() == 0.0 && (LOWEST..BEYOND).contains(&double) {
            // It has no fraction and is within the bounds of 64 bits.
            #[allow(clippy::cast_possible_truncation)]
            return Some(Self::Integer(double as i128));
        }
        double.is_finite().then_some(Self::Double(double.to_bits()))
    }
}

#[cfg(test)]
mod tests;
