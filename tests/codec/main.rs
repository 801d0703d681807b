//! Codecs: what is encoded is decoded as it was, and what was not encoded does no harm.
#![cfg(all(feature = "json", feature = "bincode", feature = "postcard"))]

mod shapes;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use annals::store::codec::{Bincode, Codec, CodecError, Json, Postcard};
use annals::{Log, Message};
use proptest::collection::{btree_map, vec};
use proptest::num;
use proptest::option;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, proptest};
use proptest::strategy::Union;
use serde_json::Value;

use shapes::{Shape, Shapes, Wrapped};

fn shape() -> impl Strategy<Value = Shape> {
    Union::new([
        Just(Shape::Unit).boxed(),
        any::<String>().prop_map(Shape::Wrapped).boxed(),
        (any::<i32>(), option::of(num::f32::ANY))
            .prop_map(|(one, other)| Shape::Tuple(one, other.filter(|it| !it.is_nan())))
            .boxed(),
        (any::<u64>(), vec(any::<i8>().prop_map(Wrapped), 0..4)).prop_map(|(at, of)| Shape::Struct { at, of }).boxed(),
    ])
}

fn shapes() -> impl Strategy<Value = Shapes> {
    let numbers = (
        any::<(bool, u8, i16, char)>(),
        any::<(u32, i64, u64, i128)>(),
        num::f64::NORMAL | num::f64::SUBNORMAL | num::f64::ZERO | num::f64::INFINITE,
    );
    let content = (any::<String>(), any::<Option<Option<u16>>>(), vec(shape(), 0..5));
    let map = btree_map(any::<String>(), vec(any::<u8>(), 0..4), 0..4);
    (numbers, content, map, any::<[i8; 3]>()).prop_map(|((small, large, double), (text, option, list), map, array)| {
        Shapes { small, large, double, text, option, unit: (), list, map, array: array.map(Wrapped) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    /// decode ∘ encode is the identity, for values of every shape.
    #[test]
    fn every_value_comes_back(value in shapes()) {
        shapes::round_trip(&value);
    }

    /// A payload that was changed, cut or made longer is a value or an error, and a value that it is comes back.
    #[test]
    fn broken_payloads_do_no_harm(value in shapes(), at in any::<usize>(), byte in any::<u8>(), which in 0..3) {
        let codecs = [Json.encode(&value).unwrap(), Postcard.encode(&value).unwrap(), Bincode.encode(&value).unwrap()];
        for payload in codecs {
            let mut payload = payload.to_vec();
            let at = at % payload.len();
            match which {
                0 => payload[at] = byte,
                1 => payload.truncate(at),
                _ => payload.insert(at, byte),
            }
            shapes::check_bytes(&payload);
        }
    }

    /// Bytes that nobody encoded are a value or an error.
    #[test]
    fn any_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(shapes::check_bytes(&bytes) <= 3);
    }
}

/// What the fuzzer starts with and has found so far, replayed; some of it are values.
#[test]
fn the_corpus_of_the_fuzzer_does_no_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/codec");
    if !corpus.exists() {
        // The published package leaves the fuzzer out.
        return;
    }
    let files = fs::read_dir(corpus).expect("the corpus is there");
    let decoded: usize = files.map(|file| shapes::check_bytes(&fs::read(file.unwrap().path()).unwrap())).sum();
    assert!(decoded >= 8, "{decoded} decoded");
}

/// All of the payload is the value: what follows it is refused, by each codec.
#[test]
fn what_is_left_over_is_an_error() {
    let longer = |payload: bytes::Bytes| [&payload, &b"1"[..]].concat();
    let left = |result: Result<u64, CodecError>| matches!(result, Err(CodecError::LeftOver { bytes: 1, .. }));
    assert!(left(Postcard.decode(&longer(Postcard.encode(&7_u64).unwrap()))));
    assert!(left(Bincode.decode(&longer(Bincode.encode(&7_u64).unwrap()))));
    assert!(matches!(Json.decode::<bool>(b"true1"), Err(CodecError::Decode(_))));
    assert!(Json.decode::<bool>(b" true\n").unwrap());
}

/// A length that is only claimed is not allocated: such a payload is refused at once, whatever its type.
#[test]
fn claimed_lengths_are_refused() {
    let claims: [&[u8]; 4] = [
        &[252, 255, 255, 255, 127],
        &[253, 255, 255, 255, 255, 255, 255, 255, 127],
        &[253, 255, 255, 255, 255, 255, 255, 255, 255],
        &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
    ];
    for claim in claims {
        assert!(Bincode.decode::<String>(claim).is_err() && Postcard.decode::<String>(claim).is_err());
        assert!(Bincode.decode::<Vec<u64>>(claim).is_err() && Postcard.decode::<Vec<u64>>(claim).is_err());
        assert!(Bincode.decode::<BTreeMap<u8, String>>(claim).is_err());
        assert!(Postcard.decode::<BTreeMap<u8, String>>(claim).is_err());
    }
    let deep = "[".repeat(100_000);
    assert!(Json.decode::<Value>(deep.as_bytes()).is_err());
}

/// The limits of bincode are wide enough for what takes least: numbers of 16 bytes in one.
#[test]
fn limits_admit_whatever_was_encoded() {
    for bytes in [1, 1000, (1 << 16) - 3, (1 << 16) - 2, (1 << 21) - 5, (1 << 21) - 4] {
        let numbers = vec![0_u128; bytes];
        let payload = Bincode.encode(&numbers).unwrap();
        assert!(payload.len() <= bytes + 5 && Bincode.decode::<Vec<u128>>(&payload).unwrap() == numbers, "{bytes}");
    }
    let text = "x".repeat((1 << 21) + 1);
    assert_eq!(Bincode.decode::<String>(&Bincode.encode(&text).unwrap()).unwrap(), text);
    let error = Bincode.decode::<Vec<u8>>(&vec![0; (1 << 27) + 1]).unwrap_err();
    assert_eq!(error.to_string(), "134217729 bytes are more than the 134217728 that are decoded");
}

/// What a format cannot say is an error of the right sort.
#[test]
fn what_cannot_be_said_is_an_error() {
    let keys = BTreeMap::from([((1, 2), 3)]);
    assert!(matches!(Json.encode(&keys), Err(CodecError::Encode(_))));
    assert!(matches!(Bincode.decode::<Value>(&[1, 2, 3]), Err(CodecError::Decode(_))), "it is not self-describing");
    assert!(matches!(Postcard.decode::<Value>(&[1, 2, 3]), Err(CodecError::Decode(_))));
    assert!(matches!(Json.decode::<f64>(&Json.encode(&f64::INFINITY).unwrap()), Err(CodecError::Decode(_))));
}

/// The error of an envelope says which one, and what is wrong with it.
#[test]
fn errors_name_the_envelope() {
    let log = Log::new();
    log.append("account-1", Message::event("Opened", Json.encode("Ada").unwrap()).unwrap()).unwrap();
    log.append("account-1", Message::event("Deposited", "many").unwrap()).unwrap();
    let (opened, deposited) = (log.get(1).unwrap(), log.get(2).unwrap());
    assert_eq!(Json.decode_envelope::<String>(&opened).unwrap(), "Ada");
    let error = Json.decode_envelope::<u64>(&deposited).unwrap_err();
    assert_eq!((error.position.get(), &*error.stream, &*error.name), (2, "account-1", "Deposited"));
    let (text, cause) = (error.to_string(), error.cause.to_string());
    assert!(text.starts_with("the payload of \"Deposited\" at position 2 in stream \"account-1\" cannot be decoded: "));
    assert!(text.ends_with(&cause) && cause.contains("expected value at line 1"), "{text}");
}
