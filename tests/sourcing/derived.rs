//! Events that the macro makes.

use annals::sourcing::{Event, Recorded};
use annals::store::BackendError;
use annals::{Log, Message};

/// Every kind of variant there is.
#[derive(Event, Clone, Debug, PartialEq)]
enum Order {
    Placed {
        #[event(tag)]
        customer: String,
        #[serde(default, rename = "n")]
        number: Option<u32>,
    },
    #[event(name = "OrderPriced")]
    Priced(u64, String),
    #[event(schema = 3, upcast(1 = first_shape, 2 = second_shape))]
    Noted(String),
    r#Final(#[event(tag = "last")] u8),
    Empty {},
    Nothing(),
    Sent,
}

fn first_shape(payload: &[u8]) -> Result<Order, BackendError> {
    if payload.is_empty() {
        return Err("there was no first shape of this".into());
    }
    Ok(Order::Noted(format!("first {}", payload.len())))
}

fn second_shape(payload: &[u8]) -> Result<Order, std::str::Utf8Error> {
    Ok(Order::Noted(format!("second {}", str::from_utf8(payload)?)))
}

#[derive(Event, Clone, Debug, PartialEq)]
#[event(name = "Shipped", schema = 2)]
struct Sent {
    #[event(tag = "carrier")]
    by: String,
}

#[derive(Event, Clone, Debug, PartialEq)]
struct Unit;

fn orders() -> Vec<(Order, &'static str, &'static str)> {
    let placed = |number| Order::Placed { customer: "Ada".to_owned(), number };
    vec![
        (placed(Some(7)), "Placed", r#"{"customer":"Ada","n":7}"#),
        (placed(None), "Placed", r#"{"customer":"Ada","n":null}"#),
        (Order::Priced(5, "EUR".to_owned()), "OrderPriced", r#"[5,"EUR"]"#),
        (Order::Noted("a note".to_owned()), "Noted", r#""a note""#),
        (Order::Final(3), "Final", "3"),
        (Order::Empty {}, "Empty", ""),
        (Order::Nothing(), "Nothing", ""),
        (Order::Sent, "Sent", ""),
    ]
}

/// Names and payloads are what they are said to be, and come back.
#[test]
fn what_is_derived_goes_into_a_log_and_back() {
    let log = Log::new();
    for (order, name, payload) in orders() {
        log.append("order-1", order.message().unwrap()).unwrap();
        let envelope = log.get(log.end()).unwrap();
        assert_eq!((envelope.name(), str::from_utf8(envelope.payload()).unwrap()), (name, payload));
        assert_eq!(Order::of(&envelope).unwrap(), Some(order));
    }
    let shipped = Sent { by: "ship".to_owned() };
    let message = shipped.message().unwrap();
    assert_eq!((message.name(), message.payload()), ("Shipped", &br#"{"by":"ship"}"#[..]));
    assert_eq!(message.tags().collect::<Vec<_>>(), ["carrier:ship"]);
    log.append("order-1", message).unwrap();
    assert_eq!(Sent::of(&log.get(log.end()).unwrap()).unwrap(), Some(shipped));
    assert_eq!(Unit.message().unwrap().payload(), b"");
    assert_eq!(Unit::decode(Recorded { name: "Unit", schema: 1, payload: b"" }).unwrap(), Some(Unit));
}

#[test]
fn fields_are_tags_when_they_say_so() {
    let tags = |order: &Order| order.message().unwrap().tags().map(str::to_owned).collect::<Vec<_>>();
    let all: Vec<_> = orders().iter().map(|(order, ..)| tags(order)).collect();
    assert_eq!(all[0], ["customer:Ada"]);
    assert_eq!(all[4], ["last:3"]);
    assert!(all[2..4].iter().chain(&all[5..]).all(Vec::is_empty));
}

/// Older shapes are read by who was named for them; one that nobody reads is an error, as is a later one; another name is
/// another event.
#[test]
fn older_shapes_are_read() {
    let read = |name, schema| Order::decode(Recorded { name, schema, payload: b"\"x\"" });
    assert_eq!(read("Noted", 1).unwrap(), Some(Order::Noted("first 3".to_owned())));
    let empty = Recorded { name: "Noted", schema: 1, payload: b"" };
    assert_eq!(Order::decode(empty).unwrap_err().to_string(), "there was no first shape of this");
    assert_eq!(read("Noted", 2).unwrap(), Some(Order::Noted("second \"x\"".to_owned())));
    assert_eq!(read("Noted", 3).unwrap(), Some(Order::Noted("x".to_owned())));
    assert_eq!(read("Noted", 4).unwrap_err().to_string(), "its schema is 4, which is not known");
    assert_eq!(read("Sent", 2).unwrap_err().to_string(), "its schema is 2, which is not known");
    assert_eq!(read("Painted", 1).unwrap(), None);
    let message = Order::Noted(String::new()).message().unwrap().into_owned();
    let headers = |message: Message<'static>| {
        let log = Log::new();
        log.append("s", message).unwrap();
        log.get(1).unwrap().headers().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(headers(message), ["schema=3"]);
}

#[test]
fn what_is_no_such_event_says_so() {
    let log = Log::new();
    log.append("order-1", Message::event("Placed", "[]").unwrap()).unwrap();
    let failure = Order::of(&log.get(1).unwrap()).unwrap_err().to_string();
    let begin =
        r#"the event "Placed" at position 1 in stream "order-1" cannot be decoded: the bytes cannot be decoded"#;
    assert!(failure.starts_with(begin), "{failure}");
}

#[cfg(feature = "postcard")]
mod compact {
    use annals::sourcing::{Event, Recorded};
    use annals::store::codec::Postcard;

    #[derive(Event, Clone, Debug, PartialEq)]
    #[event(codec = Postcard)]
    enum Small {
        Counted { by: u64 },
    }

    #[test]
    fn another_codec_may_be_named() {
        let counted = Small::Counted { by: 300 };
        let message = counted.message().unwrap();
        assert_eq!(message.payload(), [0xac, 0x02]);
        let recorded = Recorded { name: "Counted", schema: 1, payload: message.payload() };
        assert_eq!(Small::decode(recorded).unwrap(), Some(counted.clone()));
    }
}
