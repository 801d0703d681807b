//! What matches, as tables. The same against another implementation: `tests/json.rs` and the fuzz target `filter`.

use serde_json::{Value, json};

use super::Fields;

fn fields(object: &Value) -> Fields {
    let mut fields = Fields::default();
    for (key, value) in object.as_object().unwrap() {
        fields.add(key, value);
    }
    fields
}

#[track_caller]
fn check(wanted: &Value, yes: &[&str], no: &[&str]) {
    let fields = fields(wanted);
    for payload in yes {
        assert!(fields.matches(payload.as_bytes()), "{wanted} matches {payload}");
    }
    for payload in no {
        assert!(!fields.matches(payload.as_bytes()), "{wanted} does not match {payload}");
    }
}

/// `{}` matches any object and any array, and nothing else.
#[test]
fn nothing_asked_for_is_any_object_or_array() {
    check(
        &json!({}),
        &["{}", "[]", " {\"a\": 1}\n", "[1, [2], {\"b\": null}]", "\t[ ]\r", "\r\n\t {\"\":{}}"],
        &["", " ", "1", "null", "true", "\"{}\"", "\"a\"", "not json", "{}{}", "[],", "{", "]", "\u{b}{}", "\u{a0}[]"],
    );
}

/// A value is of one sort, and a key that is missing is not `null`.
#[test]
fn equality_is_strict() {
    check(
        &json!({"a": 1}),
        &["{\"a\":1}", "{\"b\":[{}],\"a\" : 1 }"],
        &["{\"a\":\"1\"}", "{\"a\":true}", "{\"a\":[1]}"],
    );
    check(&json!({"a": "1"}), &["{\"a\":\"1\"}"], &["{\"a\":1}", "{\"a\":\"1 \"}", "{\"a\":\"\"}", "{\"a\":\"10\"}"]);
    check(
        &json!({"a": null}),
        &["{\"a\":null}"],
        &["{}", "[]", "{\"a\":0}", "{\"a\":\"\"}", "{\"a\":false}", "{\"b\":null}"],
    );
    check(&json!({"a": true}), &["{\"a\":true}"], &["{\"a\":false}", "{\"a\":1}", "{\"a\":\"true\"}", "{\"a\":null}"]);
    check(&json!({"a": false}), &["{\"a\":false}"], &["{\"a\":true}", "{\"a\":0}", "{\"a\":null}", "{}"]);
    check(&json!({"a": {}}), &["{\"a\":{}}"], &["{\"a\":[]}", "{\"a\":{\"b\":1}}"]);
    check(&json!({"a": []}), &["{\"a\":[ ]}"], &["{\"a\":{}}", "{\"a\":[null]}"]);
    check(&json!({"a": 1, "b": 2}), &["{\"b\":2,\"c\":3,\"a\":1}"], &["{\"a\":1}", "{\"b\":2}", "{\"a\":2,\"b\":1}"]);
}

/// A key is a key, whatever it looks like; in an array it is an index as numbers are printed.
#[test]
fn keys_are_no_paths() {
    check(&json!({"a.b": 1}), &["{\"a.b\":1}"], &["{\"a\":{\"b\":1}}"]);
    check(&json!({"": 1}), &["{\"\":1}"], &["{\"a\":1}", "[1]"]);
    check(&json!({"0": 1}), &["{\"0\":1}", "[1]", "[1,2]"], &["[]", "[2,1]", "{\"a\":1}", "[[1]]"]);
    check(&json!({"0": 1, "1": 2}), &["[1,2]"], &["[0,2]", "[1,0]", "[1]"]);
    check(&json!({"10": 1, "2": 3}), &["[0,0,3,0,0,0,0,0,0,0,1]"], &["[0,0,3]", "[0,0,3,0,0,0,0,0,0,0,2]"]);
    for key in ["00", "+0", "-0", "1_", "0.0", " 1", "length", "18446744073709551616"] {
        check(&json!({key: 1}), &[&format!("{{\"{key}\":1}}")], &["[1,1,1]"]);
    }
    check(&json!({"0": 1, "a": 1}), &["{\"0\":1,\"a\":1}"], &["[1]"]);
}

/// Objects without regard to order, arrays with it, all the way down.
#[test]
fn nested_values_compare_deeply() {
    check(
        &json!({"a": {"b": [1, {"c": null}], "d": "e"}}),
        &["{\"a\":{\"b\":[1,{\"c\":null}],\"d\":\"e\"}}", "{\"a\":{\"d\":\"e\",\"b\":[1.0,{\"c\":null}]}}"],
        &[
            "{\"a\":{\"b\":[{\"c\":null},1],\"d\":\"e\"}}",
            "{\"a\":{\"b\":[1,{\"c\":null}],\"d\":\"e\",\"f\":1}}",
            "{\"a\":{\"b\":[1,{\"c\":null}]}}",
            "{\"a\":{\"b\":[1,{\"c\":null},2],\"d\":\"e\"}}",
            "{\"a\":{\"b\":[1,{}],\"d\":\"e\"}}",
        ],
    );
}

/// Of several values of one key the last one counts, at every level.
#[test]
fn the_last_of_a_key_counts() {
    check(
        &json!({"a": 1}),
        &["{\"a\":2,\"a\":1}", "{\"a\":1,\"\\u0061\":1}"],
        &["{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}"],
    );
    check(
        &json!({"a": {"b": 1}}),
        &["{\"a\":{\"b\":2,\"b\":1}}"],
        &["{\"a\":{\"b\":1,\"b\":2}}", "{\"a\":{\"b\":1},\"a\":0}"],
    );
}

/// What is asked for twice must be both, and no payload is.
#[test]
fn one_key_with_two_values_matches_nothing() {
    let mut both = fields(&json!({"a": 1}));
    both.add("a", &json!(1.0));
    assert!(both.matches(b"{\"a\":1}"), "the same twice");
    both.add("a", &json!(2));
    both.add("a", &json!(2));
    assert!(!both.matches(b"{\"a\":1}") && !both.matches(b"{\"a\":2}") && !both.matches(b"{}"));
}

#[test]
fn numbers_are_equal_by_value() {
    let one = ["{\"a\":1}", "{\"a\":1.0}", "{\"a\":10e-1}", "{\"a\":0.1E+1}"];
    check(&json!({"a": 1}), &one, &["{\"a\":-1}", "{\"a\":1.0000000000000002}"]);
    check(&json!({"a": 1.0}), &one, &["{\"a\":2}"]);
    check(
        &json!({"a": 0}),
        &["{\"a\":0}", "{\"a\":-0}", "{\"a\":-0.0}", "{\"a\":0e9}", "{\"a\":1e-400}"],
        &["{\"a\":5e-324}"],
    );
    check(&json!({"a": 0.1}), &["{\"a\":0.1}", "{\"a\":1e-1}", "{\"a\":0.10}"], &["{\"a\":0.10000000000000002}"]);
    // 2^53 + 1 is no double.
    check(
        &json!({"a": 9_007_199_254_740_993_u64}),
        &["{\"a\":9007199254740993}"],
        &["{\"a\":9007199254740992}", "{\"a\":9007199254740992.0}"],
    );
    check(&json!({"a": 9_007_199_254_740_992.0}), &["{\"a\":9007199254740992}"], &["{\"a\":9007199254740993}"]);
    check(
        &json!({"a": u64::MAX}),
        &["{\"a\":18446744073709551615}"],
        &["{\"a\":18446744073709551614}", "{\"a\":18446744073709551616}", "{\"a\":1.8446744073709552e19}"],
    );
    check(
        &json!({"a": i64::MIN}),
        &["{\"a\":-9223372036854775808}", "{\"a\":-9223372036854775808.0}"],
        &["{\"a\":-9223372036854775807}"],
    );
    // Beyond 64 bits all are doubles.
    check(
        &json!({"a": 1e20}),
        &["{\"a\":100000000000000000000}", "{\"a\":100000000000000000001}", "{\"a\":1e20}"],
        &["{\"a\":1e21}"],
    );
    // A number that no double holds is JSON, and equal to nothing.
    check(&json!({"b": 1}), &["{\"a\":1e400,\"b\":1}"], &["{\"b\":1e400}"]);
    check(
        &json!({"a": f64::MAX}),
        &["{\"a\":1.7976931348623157e308}"],
        &["{\"a\":1e400}", "{\"a\":-1.7976931348623157e308}"],
    );
}

/// Texts are compared by the characters that they mean.
#[test]
fn texts_are_unescaped() {
    check(
        &json!({"ä\n": "\u{1f600}/\"\\"}),
        &["{\"ä\\n\":\"😀/\\\"\\\\\"}", "{\"\\u00E4\\u000a\":\"\\ud83d\\uDE00\\/\\u0022\\u005c\"}"],
        &["{\"ä\\n\":\"😀/\\\"\"}", "{\"ä\\r\":\"😀/\\\"\\\\\"}", "{\"ä\\n\":\"\\ud83d\\ude01/\\\"\\\\\"}"],
    );
    check(&json!({"a": "\u{8}\u{c}\n\r\t\u{0}"}), &["{\"a\":\"\\b\\f\\n\\r\\t\\u0000\"}"], &["{\"a\":\"bfnrt0\"}"]);
}

/// A payload that is no JSON never matches, wherever it stops being JSON, even if all that is asked for is there.
#[test]
fn what_is_no_json_never_matches() {
    let broken = [
        "{\"a\":1",
        "{\"a\":1}}",
        "{\"a\":1}x",
        "{\"a\":1,}",
        "{\"a\":1,,\"b\":2}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1,\"b\"}",
        "{\"a\":1,\"b\":}",
        "{\"a\":1,b:2}",
        "{\"a\":1,\"b\":[1,]}",
        "{\"a\":1,\"b\":[1}",
        "{\"a\":1,\"b\":{]}",
        "{\"a\":1,\"b\":[1 2]}",
        "{\"a\":1,\"b\":01}",
        "{\"a\":1,\"b\":-}",
        "{\"a\":1,\"b\":1.}",
        "{\"a\":1,\"b\":.5}",
        "{\"a\":1,\"b\":1e}",
        "{\"a\":1,\"b\":+1}",
        "{\"a\":1,\"b\":0x1}",
        "{\"a\":1,\"b\":NaN}",
        "{\"a\":1,\"b\":tru}",
        "{\"a\":1,\"b\":truee}",
        "{\"a\":1,\"b\":nul}",
        "{\"a\":1,\"b\":\"}",
        "{\"a\":1,\"b\":\"\\x\"}",
        "{\"a\":1,\"b\":\"\\u12\"}",
        "{\"a\":1,\"b\":\"\\ud80\"}",
        "{\"a\":1,\"\\x\":1}",
        "{\"a\":1,\"\t\":1}",
        "{\"a\":1,\"b\":{\"\t\":1}}",
        "{\"a\":1,\"b\":\"\\u+123\"}",
        "{\"a\":1,\"b\":\"\\u00ä\"}",
        "{\"a\":1,\"b\":\"\n\"}",
        "{\"a\":1,\"b\":\"\u{1f}\"}",
        "{\"a\":1,'b':2}",
        "{\"a\":1}//",
        "\u{feff}{\"a\":1}",
        "{\"a\":1,\"b\":[[[{}]}]}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":1e+}",
    ];
    check(&json!({"a": 1}), &["{\"a\":1,\"b\":[{},[],\"\\u0000\",-0.5e-7,true,false,null]}"], &broken);
    check(&json!({}), &[], &broken);
    assert!(!fields(&json!({"a": 1})).matches(b"{\"a\":1,\"b\":\"\xff\"}"), "no UTF-8 in what is skipped");
    assert!(!fields(&json!({})).matches(b"[\xc3]"));
}

/// Half of a surrogate pair is JSON by its grammar, in a text as in a key, at every level. `Value` cannot hold it, and
/// nothing that is asked for is equal to it.
#[test]
fn a_text_with_half_a_surrogate_pair_is_json_and_equal_to_none() {
    for half in ["\\ud800", "\\udc00", "\\udbff\\ud800", "x\\uDFFF", "\\ud800x", "\\ud800\\n", "\\udc00\\ud800"] {
        let payloads = [
            format!("{{\"a\":1,\"b\":\"{half}\"}}"),
            format!("{{\"{half}\":[],\"a\":1}}"),
            format!("{{\"a\":1,\"b\":[{{\"{half}\":\"{half}\"}}]}}"),
            format!("{{\"a\":\"{half}\",\"a\":1}}"),
        ];
        for payload in payloads {
            assert!(serde_json::from_str::<Value>(&payload).is_err(), "{payload}");
            check(&json!({"a": 1}), &[&payload], &[&payload[1..]]);
            check(&json!({}), &[&payload], &[]);
        }
        for wanted in ["", "\u{fffd}", "x", half] {
            check(&json!({"a": wanted}), &[], &[&format!("{{\"a\":\"{half}\"}}")]);
            check(&json!({wanted: 1}), &[], &[&format!("{{\"{half}\":1}}")]);
            check(&json!({"a": {}}), &[], &[&format!("{{\"a\":{{\"{half}\":1}}}}")]);
        }
        check(&json!({"a": 1}), &[], &[&format!("{{\"a\":1,\"a\":\"{half}\"}}")]);
    }
}

/// Deeper than `Value` is read, and deeper than a stack would bear; what is compared is as deep as what is asked for.
#[test]
fn depth_has_no_bound() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(serde_json::from_str::<Value>(&nested(128)).is_err());
    for levels in [127, 128, 129, 100_000] {
        let (deep, objects) = (nested(levels), "{\"a\":".repeat(levels) + "{}" + &"}".repeat(levels));
        check(&json!({}), &[&deep, &objects], &[&deep[1..], &deep[..levels * 2 - 1], &objects[..objects.len() - 1]]);
        check(
            &json!({"a": 1}),
            &[&format!("{{\"a\":1,\"b\":{deep}}}")],
            &[&format!("{{\"a\":1,\"b\":{deep}]}}"), &deep],
        );
        check(&json!({"a": [[]]}), &[], &[&format!("{{\"a\":{deep}}}"), &objects]);
    }
    let wanted = |levels: usize| (1..levels).fold(json!([]), |inside, _| json!([inside]));
    check(&json!({"0": wanted(299)}), &[&nested(300)], &[&nested(299), &nested(301)]);
}

/// Keys that `Value` takes for something of its own when certain features are on are keys like others.
#[test]
fn keys_of_serde_json_itself_are_keys() {
    for key in ["$serde_json::private::RawValue", "$serde_json::private::Number"] {
        let payload = format!("{{\"a\":{{\"{key}\":\"1\"}}}}");
        check(&json!({"a": {key: "1"}}), &[&payload], &[]);
        check(&json!({"a": 1}), &[], &[&payload]);
        check(&json!({key: "1"}), &[&payload[5..payload.len() - 1]], &["1", "{}"]);
    }
}

/// After what ends within something it goes on in that, whichever of both is an object and which an array.
#[test]
fn what_is_skipped_may_be_nested_in_any_way() {
    let values = ["0", "{}", "[]", "{\"k\":0}", "[0]", "{\"k\":[0],\"l\":{}}", "[{\"k\":0},[]]"];
    for one in values {
        for other in values {
            let (array, object) =
                (format!("[{one},{other}, {one}]"), format!("{{\"x\":{one} ,\"y\":{other},\"z\": {one}}}"));
            for both in
                [format!("[{array},{object},{array}]"), format!("{{\"v\":{object},\"w\":{array},\"x\":{object}}}")]
            {
                let payload = format!("{{\"b\":{both},\"a\":1}}");
                check(
                    &json!({"a": 1}),
                    &[&payload],
                    &[&payload[1..], &payload.replacen(']', "}", 1), &payload.replacen('}', "]", 1)],
                );
            }
        }
    }
}

/// More keys than there is room for without allocating.
#[test]
fn objects_may_have_many_keys() {
    let many = |changed: usize| {
        let entries = (0..200).map(|key| (format!("k{key}"), json!(usize::from(key == changed))));
        Value::Object(entries.collect())
    };
    let wanted = json!({"a": many(200)});
    check(&wanted, &[&wanted.to_string()], &[&json!({"a": many(199)}).to_string(), &json!({"a": many(0)}).to_string()]);
    assert!(fields(&many(7)).matches(many(7).to_string().as_bytes()));
    assert!(!fields(&many(7)).matches(many(8).to_string().as_bytes()));
}
