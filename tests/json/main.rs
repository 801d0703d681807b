//! Conditions on JSON payloads against a naive evaluator, on random texts and on what the fuzzer found.
#![cfg(feature = "json")]

mod filter;
mod ndjson;

use std::cell::Cell;
use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any};
use proptest::sample::select;
use proptest::strategy::Union;
use proptest::test_runner::TestRunner;
use serde_json::Value;

/// Few enough that two are often equal, and every sort that is special.
const SCALARS: [&str; 37] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "0.0",
    "1",
    "1.0",
    "10e-1",
    "-1",
    "0.1",
    "1e-1",
    "9007199254740992",
    "9007199254740993",
    "9007199254740992.0",
    "18446744073709551615",
    "18446744073709551616",
    "1.8446744073709552e19",
    "-9223372036854775808",
    "-9223372036854775809",
    "100000000000000000000",
    "1e20",
    "5e-324",
    "1e-999",
    "\"\"",
    "\"1\"",
    "\"a\"",
    "\"\\u0061\"",
    "\"ä\\n\"",
    "\"\\u00e4\\u000A\"",
    "\"😀\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud83d\"",
    "\"\\ude00\\ud83d\"",
    "\"\\uE000\"",
    "\"null\"",
    "\"\\\\\\\"\\/\"",
];
const KEYS: [&str; 9] = ["a", "\\u0061", "b", "0", "1", "00", "", "ä", "\\udfff"];
const BLANKS: [&str; 5] = ["", "", "", " ", "\n\t\r "];

/// A JSON text, nested at most three levels deep.
fn text() -> impl Strategy<Value = String> {
    select(&SCALARS[..]).prop_map(str::to_owned).prop_recursive(3, 24, 4, |inner| {
        let blank = || select(&BLANKS[..]);
        let array = (vec(inner.clone(), 0..4), blank())
            .prop_map(|(values, blank)| format!("[{}]", values.join(&format!("{blank},"))));
        Union::new([array.boxed(), object(inner).boxed()])
    })
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let entry = (select(&KEYS[..]), value, select(&BLANKS[..]))
        .prop_map(|(key, value, blank)| format!("{blank}\"{key}\":{blank}{value}"));
    (vec(entry, 0..5), select(&BLANKS[..]))
        .prop_map(|(entries, blank)| format!("{blank}{{{}{blank}}}", entries.join(",")))
}

/// Mostly an object; sometimes an array or something else; one in eight has a byte changed.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let scalar = || select(&SCALARS[..]).prop_map(str::to_owned);
    let whole = Union::new_weighted(vec![
        (3, object(scalar()).boxed()),
        (3, object(text()).boxed()),
        (2, vec(text(), 0..3).prop_map(|values| format!("[{}]", values.join(","))).boxed()),
        (1, text().boxed()),
    ]);
    let change = Union::new_weighted(vec![(7, Just(None).boxed()), (1, any::<(usize, u8)>().prop_map(Some).boxed())]);
    (whole, change).prop_map(|(text, change)| {
        let mut bytes = text.into_bytes();
        if let Some((at, byte)) = change {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes
    })
}

/// The payload as a tree, with something else for halves of surrogate pairs.
fn tree(payload: &[u8]) -> Option<Value> {
    serde_json::from_str(&filter::without_halves(str::from_utf8(payload).ok()?, 0xe000)).ok()
}

/// What is asked for: mostly one of the payload's own fields, otherwise any.
fn cases() -> impl Strategy<Value = (Vec<(String, Value)>, Vec<u8>)> {
    let wish = (select(&KEYS[..]), text(), any::<u8>());
    (vec(wish, 0..3), payload()).prop_map(|(wishes, payload)| {
        let there: Vec<(String, Value)> = match tree(&payload) {
            Some(Value::Object(values)) => values.into_iter().collect(),
            Some(Value::Array(values)) => (0..).map(|index: usize| index.to_string()).zip(values).collect(),
            _ => Vec::new(),
        };
        let fields = wishes.into_iter().map(|(key, text, choice)| {
            if choice < 192 && !there.is_empty() {
                return there[usize::from(choice) % there.len()].clone();
            }
            let entry = tree(format!("[\"{key}\",{text}]").as_bytes()).expect("both are JSON");
            serde_json::from_value(entry).expect("keys are texts")
        });
        (fields.collect(), payload)
    })
}

/// Whatever is asked for and whatever the payload: it matches exactly when the naive evaluator says so.
#[test]
fn conditions_agree_with_the_naive_evaluator() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(6000) };
    let (matched, refused, broken) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let count = |cell: &Cell<u32>| cell.set(cell.get() + 1);
    let result = TestRunner::new(config).run(&cases(), |(fields, payload)| {
        let found = filter::check(&fields, &payload);
        match found {
            _ if tree(&payload).is_none() => count(&broken),
            Some(true) if !fields.is_empty() => count(&matched),
            Some(false) => count(&refused),
            _ => {}
        }
        Ok(())
    });
    result.unwrap();
    let enough = matched.get() > 600 && refused.get() > 600 && broken.get() > 200;
    assert!(enough, "{matched:?} matched, {refused:?} did not, {broken:?} were no JSON");
}

/// What the fuzzer has found so far, replayed.
#[test]
fn the_corpus_of_the_fuzzer_agrees_with_the_naive_evaluator() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/filter");
    if !corpus.exists() {
        // The published package leaves the fuzzer out.
        return;
    }
    let files: Vec<_> = fs::read_dir(corpus).expect("the corpus is there").collect();
    assert!(files.len() >= 10, "the corpus is there");
    for file in files {
        filter::check_bytes(&fs::read(file.expect("an entry").path()).expect("a file"));
    }
}
