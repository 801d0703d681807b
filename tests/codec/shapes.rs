//! A value of every shape that serde knows, and what must hold for it and for any bytes.

use std::collections::BTreeMap;

use annals::store::codec::{Bincode, Codec, Json, Postcard};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shapes {
    pub small: (bool, u8, i16, char),
    pub large: (u32, i64, u64, i128),
    pub double: f64,
    pub text: String,
    // Codecs must tell the two absences apart, where the format can.
    #[allow(clippy::option_option)]
    pub option: Option<Option<u16>>,
    pub unit: (),
    pub list: Vec<Shape>,
    pub map: BTreeMap<String, Vec<u8>>,
    pub array: [Wrapped; 3],
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Shape {
    Unit,
    Wrapped(String),
    Tuple(i32, Option<f32>),
    Struct { at: u64, of: Vec<Wrapped> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wrapped(pub i8);

/// What can be said in JSON: numbers are finite, and there is one `None`, `null`.
pub fn is_json(value: &Shapes) -> bool {
    let finite = |shape: &Shape| !matches!(shape, Shape::Tuple(_, Some(number)) if !number.is_finite());
    value.double.is_finite() && value.option != Some(None) && value.list.iter().all(finite)
}

/// The value comes back from every codec.
pub fn round_trip(value: &Shapes) {
    let codes = "what it made";
    assert_eq!(Postcard.decode::<Shapes>(&Postcard.encode(value).expect("a shape")).expect(codes), *value);
    assert_eq!(Bincode.decode::<Shapes>(&Bincode.encode(value).expect("a shape")).expect(codes), *value);
    if is_json(value) {
        assert_eq!(Json.decode::<Shapes>(&Json.encode(value).expect("a shape")).expect(codes), *value);
    }
}

/// Any bytes are a value or an error for each codec; a value that they are comes back, and so it does from the others.
pub fn check_bytes(bytes: &[u8]) -> usize {
    decoded(&Json, bytes) + decoded(&Postcard, bytes) + decoded(&Bincode, bytes)
}

fn decoded(codec: &impl Codec, bytes: &[u8]) -> usize {
    let Ok(value) = codec.decode::<Shapes>(bytes) else { return 0 };
    // Not a number is not equal to itself; its bytes are.
    let again = codec.encode(&value).expect("what was decoded can be encoded");
    let twice = codec.encode(&codec.decode::<Shapes>(&again).expect("what it made")).expect("a shape");
    assert_eq!(again, twice);
    if is_json(&value) {
        round_trip(&value);
    }
    1
}
