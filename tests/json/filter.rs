//! JSON conditions, evaluated a second time as simply as can be: the payload as a tree, and equality spelled out.

use std::fmt::Write;

use annals::{Condition, Item, Log, Message, Query};
use serde_json::{Number, Value};

/// What `Value` does not read or reads as something else, though it is JSON: numbers that no double holds, more than 127
/// levels, and keys that mean something to it. What is asked of such a payload is not decided here.
fn undecided(error: &serde_json::Error) -> bool {
    ["number out of range", "recursion limit exceeded"].iter().any(|it| error.to_string().starts_with(it))
}

/// Whether the payload is as asked for, if that is decided.
pub fn expected(fields: &[(String, Value)], payload: &[u8]) -> Option<bool> {
    let asked = format!("{fields:?}");
    let instead =
        (0xe000..0xf900).find(|unit| !asked.contains(&format!("\\u{{{unit:x}}}"))).expect("some unit is not asked for");
    let Ok(text) = std::str::from_utf8(payload) else { return Some(false) };
    if text.contains("$serde_json::private::") {
        return None;
    }
    let tree = match serde_json::from_str::<Value>(&without_halves(text, instead)) {
        Err(error) if undecided(&error) => return None,
        Ok(tree @ (Value::Object(_) | Value::Array(_))) => tree,
        _ => return Some(false),
    };
    Some(fields.iter().all(|(key, value)| at(&tree, key).is_some_and(|it| same(it, value))))
}

/// Halves of surrogate pairs are JSON, but no `Value` has them: the same text with another unit for each.
pub fn without_halves(text: &str, instead: u16) -> String {
    let mut whole = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let escape = &rest[at..];
        let unit = |at: usize| u16::from_str_radix(escape.get(at..at + 6)?.strip_prefix("\\u")?, 16).ok();
        let (length, is_half) = match (unit(0), unit(6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (12, false),
            (Some(0xd800..=0xdfff), _) => (6, true),
            _ => (1 + escape[1..].chars().next().map_or(0, char::len_utf8), false),
        };
        whole += &rest[..at];
        if is_half {
            write!(whole, "\\u{instead:04x}").expect("a text takes all");
        } else {
            whole += &escape[..length];
        }
        rest = &escape[length..];
    }
    whole + rest
}

fn at<'v>(tree: &'v Value, key: &str) -> Option<&'v Value> {
    let Value::Array(values) = tree else { return tree.get(key) };
    values.iter().enumerate().find(|(index, _)| index.to_string() == key).map(|(_, value)| value)
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => same_number(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(key, value)| other.get(key).is_some_and(|it| same(value, it)))
        }
        (one, other) => one == other,
    }
}

/// By their digits. A double that is an integer prints all of them with a precision, and as few as tell it without.
fn same_number(one: &Number, other: &Number) -> bool {
    let digits = |number: &Number| match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(integer), _, _) => integer.to_string(),
        (_, Some(integer), _) => integer.to_string(),
        // What is added makes a negative zero positive.
        (_, _, Some(double)) if double.fract() == 0.0 => format!("{:.0}", double + 0.0),
        (_, _, Some(double)) => double.to_string(),
        _ => unreachable!("without `arbitrary_precision` every number is a double at least"),
    };
    digits(one) == digits(other)
}

/// A log with this payload finds it by these fields, and refuses an append by them, exactly when it should.
pub fn check(fields: &[(String, Value)], payload: &[u8]) -> Option<bool> {
    let item = fields.iter().fold(Item::new().any_object(), |item, (key, value)| item.field(key, value));
    let query = Query::all().or(item);
    let log = Log::builder().no_clock().build().expect("the settings are valid");
    let message = |payload| Message::event("M", payload).expect("a valid name");
    log.append("s", message(payload)).expect("nothing stands against it");
    let found = log.read().matching(query.clone()).iter().count() == 1;
    let refused = log.append_with("s", message(b"-"), &Condition::none(query)).is_err();
    assert_eq!(found, refused, "a read and a condition do not agree");
    let expected = expected(fields, payload)?;
    assert_eq!(found, expected, "{fields:?} and {}", String::from_utf8_lossy(payload));
    Some(found)
}

/// Any bytes: the fields asked for as a JSON object up to the first line feed, then the payload (which
/// begins with that line feed: a blank).
pub fn check_bytes(bytes: &[u8]) {
    let (wanted, payload) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0));
    let fields = match serde_json::from_slice(wanted) {
        Ok(Value::Object(fields)) => fields.into_iter().collect(),
        _ => Vec::new(),
    };
    check(&fields, payload);
}
