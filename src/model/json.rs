//! What an item of a query asks of payloads that are JSON, and whether a payload is so.
//!
//! What is asked is put together once, when the query is built. A payload is then read from its first byte to its last,
//! once, by a [`Scanner`] of our own: no tree is built, nothing is decoded that is not compared, and nothing is allocated
//! (but for objects of more than 64 wanted keys). A parser of the ecosystem would be less code, but what it does depends
//! on features that anybody in the same program can turn on (`arbitrary_precision`), it does not look at texts that
//! it skips, and it allocates for values that are nested in what it skips.
//!
//! What is a JSON text: the grammar of RFC 8259, in UTF-8, without halves of surrogate pairs, at most 127 levels deep.

mod scan;

use std::cmp::Ordering;

use serde_json::Value;
use smallvec::SmallVec;

use scan::{NotJson, Scanner};

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
        let Some(scanner) = Scanner::new(payload) else { return false };
        self.matched_by(scanner).unwrap_or(false)
    }

    fn matched_by(&self, mut scanner: Scanner<'_>) -> Result<bool, NotJson> {
        let matches = match scanner.peek()? {
            b'{' => self.entries.matched_by(&mut scanner, Others::Allowed)?,
            b'[' if self.indices.len() == self.entries.0.len() => self.matched_by_array(&mut scanner)?,
            _ => return Ok(false),
        };
        scanner.end()?;
        Ok(matches)
    }

    fn matched_by_array(&self, scanner: &mut Scanner<'_>) -> Result<bool, NotJson> {
        let (mut wanted, mut equal) = (self.indices.iter().peekable(), true);
        let (mut index, mut more) = (0, scanner.enter_array()?);
        while more {
            if let Some((_, at)) = wanted.next_if(|(wanted, _)| *wanted == index) {
                equal &= self.entries.0[*at].1.is_next(scanner)?;
            } else {
                scanner.skip()?;
            }
            index += 1;
            more = scanner.more_of_array()?;
        }
        Ok(equal && wanted.next().is_none())
    }
}

/// The index that a key is in an array: decimal, as numbers are printed.
fn index_of(key: &str) -> Option<u64> {
    let canonical = key == "0" || key.starts_with(|first| matches!(first, '1'..='9'));
    // A sign is no digit, so what begins with one is refused before.
    if canonical { key.parse().ok() } else { None }
}

impl Entries {
    /// Reads an object. Of several values of one key the last one counts.
    fn matched_by(&self, scanner: &mut Scanner<'_>, others: Others) -> Result<bool, NotJson> {
        let mut equal: SmallVec<[bool; 64]> = SmallVec::from_elem(false, self.0.len());
        let mut only_wanted = true;
        let mut more = scanner.enter_object()?;
        while more {
            let key = scanner.key()?;
            if let Ok(at) = self.0.binary_search_by(|(wanted, _)| key.compare(wanted).reverse()) {
                equal[at] = self.0[at].1.is_next(scanner)?;
            } else {
                only_wanted = false;
                scanner.skip()?;
            }
            more = scanner.more_of_object()?;
        }
        Ok((only_wanted || others == Others::Allowed) && equal.iter().all(|equal| *equal))
    }
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

    /// Whether the next value is this one. Reads all of it, whatever it is.
    fn is_next(&self, scanner: &mut Scanner<'_>) -> Result<bool, NotJson> {
        match (scanner.peek()?, self) {
            (b'"', Self::Text(wanted)) => Ok(scanner.text()?.compare(wanted) == Ordering::Equal),
            (b'-' | b'0'..=b'9', Self::Number(wanted)) => Ok(Number::read(scanner.number()?) == Some(*wanted)),
            (b'{', Self::Object(wanted)) => wanted.matched_by(scanner, Others::Refused),
            (b'[', Self::Array(wanted)) => Self::are_next(wanted, scanner),
            (first, wanted) => {
                // No other word begins like these three, or it is no JSON.
                let word = match wanted {
                    Self::Null => first == b'n',
                    Self::Bool(true) => first == b't',
                    Self::Bool(false) => first == b'f',
                    _ => false,
                };
                scanner.skip()?;
                Ok(word)
            }
        }
    }

    fn are_next(wanted: &[Self], scanner: &mut Scanner<'_>) -> Result<bool, NotJson> {
        let (mut wanted, mut equal) = (wanted.iter(), true);
        let mut more = scanner.enter_array()?;
        while more {
            if let Some(wanted) = wanted.next() {
                equal &= wanted.is_next(scanner)?;
            } else {
                equal = false;
                scanner.skip()?;
            }
            more = scanner.more_of_array()?;
        }
        Ok(equal && wanted.next().is_none())
    }
}

impl Number {
    /// None when it is larger than any double.
    fn new(number: &serde_json::Number) -> Option<Self> {
        let integer = number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from));
        integer.map(Self::Integer).or_else(|| Self::of_double(number.as_f64()?))
    }

    /// `text` has the grammar of a number.
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
