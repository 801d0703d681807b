//! Filters on fields of payloads that are JSON.
#![cfg(feature = "json")]

use annals::Message;
use annals::store::{Filter, MessageStore, block_on, iterate};
use serde_json::json;

/// Strict equality of top-level fields, with every other condition of the filter; a payload that is no JSON never matches and
/// never fails.
#[test]
fn a_filter_asks_for_fields() {
    let store = MessageStore::new();
    let payloads = [
        r#"{"seat":1,"who":null}"#,
        r#"{"seat":"1"}"#,
        r#"{"seat":1.0,"deep":{"a":[1,2]}}"#,
        "not json",
        "[7,8]",
        r#"{"a.b":1}"#,
        "7",
        r#"{"seat":1"#,
    ];
    for (n, payload) in payloads.iter().enumerate() {
        let stream = if n % 2 == 0 { "even" } else { "odd" };
        block_on(store.save(stream, Message::event("E", *payload).unwrap())).unwrap();
    }
    let places =
        |filter: Filter| iterate(store.read_all(&filter)).map(|it| it.unwrap().position().get()).collect::<Vec<_>>();
    assert_eq!(places(Filter::new().field("seat", &json!(1))), [1, 3]);
    assert_eq!(places(Filter::new().field("seat", &json!("1"))), [2]);
    assert_eq!(places(Filter::new().field("seat", &json!(1)).count(1)), [3]);
    assert_eq!(places(Filter::new().field("seat", &json!(1)).field("who", &json!(null))), [1]);
    assert_eq!(places(Filter::new().field("who", &json!(null))), [1], "only where it is said");
    assert_eq!(places(Filter::new().field("deep", &json!({"a": [1, 2]}))), [3]);
    assert_eq!(places(Filter::new().field("0", &json!(7))), [5], "a key is an index");
    assert_eq!(places(Filter::new().field("a.b", &json!(1))), [6], "and no path");
    assert_eq!(places(Filter::new().any_object()), [1, 2, 3, 5, 6]);
    assert_eq!(places(Filter::new().any_object().stream("odd")), [2, 6]);
    assert_eq!(places(Filter::new().field("seat", &json!(1)).session("no-session")), [1, 3]);
}
