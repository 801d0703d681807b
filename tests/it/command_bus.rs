//! The command bus: one handler for each name, and what its answers inherit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use annals::store::{AppendFailure, CommandBus, DispatchError, Filter, MessageStore, Select, block_on, iterate};
use annals::{Batch, Envelope, Expected, InvalidMessage, Message};

type Answer = Result<Batch<'static>, InvalidMessage>;

fn place(_: &Message<'_>) -> Answer {
    let own = Message::builder("Reserved").request_id("own").build()?;
    Ok(Batch::new().add("orders", Message::event("Placed", "")?).add("stock", own))
}

fn command() -> Message<'static> {
    Message::builder("Place").request_id("r").correlation_id("c").message_id("m").build().unwrap()
}

fn read(store: &MessageStore, stream: &str) -> Vec<Envelope> {
    iterate(store.read(Select::stream(stream))).map(Result::unwrap).collect()
}

#[test]
fn a_second_handler_is_an_error() {
    let bus = CommandBus::new();
    bus.handle("Place", place).unwrap();
    bus.handle("Other", place).unwrap();
    let refused = bus.handle("Place", |_| Err::<Batch<'static>, _>("the second")).unwrap_err();
    assert_eq!(refused.to_string(), r#"command "Place" has a handler already"#);
    let store = MessageStore::new();
    block_on(bus.dispatch(&store, &command())).expect("the first is the one");
    assert!(bus.handles("Place") && !bus.handles("place"));
}

#[test]
fn an_unknown_command_is_an_error_that_names_it() {
    let (bus, store) = (CommandBus::new(), MessageStore::new());
    bus.handle("Other", place).unwrap();
    let unknown = block_on(bus.dispatch(&store, &command())).unwrap_err();
    assert!(matches!(&unknown, DispatchError::Unknown { name, .. } if &**name == "Place"));
    assert_eq!(unknown.to_string(), r#"no handler for command "Place""#);
}

#[test]
fn events_inherit_request_and_correlation_id_unless_they_have_their_own() {
    let (bus, store) = (CommandBus::new(), MessageStore::new());
    bus.handle("Place", place).unwrap();
    let saved = block_on(bus.dispatch(&store, &command())).unwrap();
    assert_eq!((saved.first.get(), saved.last.get()), (1, 2));
    let (placed, reserved) = (&read(&store, "orders")[0], &read(&store, "stock")[0]);
    assert_eq!((placed.request_id(), placed.correlation_id()), (Some("r"), Some("c")));
    assert_eq!((reserved.request_id(), reserved.correlation_id()), (Some("own"), Some("c")));
    assert_eq!((placed.causation_id(), placed.message_id()), (None, None), "and nothing else");

    block_on(bus.dispatch(&store, &Message::command("Place", "").unwrap())).unwrap();
    let (placed, reserved) = (&read(&store, "orders")[1], &read(&store, "stock")[1]);
    assert_eq!((placed.request_id(), placed.correlation_id()), (None, None), "from a command without ids nothing");
    assert_eq!(reserved.request_id(), Some("own"));
}

#[test]
fn a_handler_that_fails_saves_nothing() {
    let (bus, store) = (CommandBus::new(), MessageStore::new());
    bus.handle("Place", |_| Err::<Batch<'static>, _>("out of stock")).unwrap();
    let failed = block_on(bus.dispatch(&store, &command())).unwrap_err();
    assert_eq!(failed.to_string(), r#"the handler of command "Place" failed: out of stock"#);
    assert_eq!(iterate(store.read_all(&Filter::new())).count(), 0);
}

#[test]
fn a_conflict_comes_back_to_the_dispatcher() {
    let (bus, store) = (CommandBus::new(), MessageStore::new());
    bus.handle("Place", |_| -> Answer { Ok(place(&command())?.expect("orders", Expected::NoStream)) }).unwrap();
    block_on(bus.dispatch(&store, &command())).unwrap();
    let refused = block_on(bus.dispatch(&store, &command())).unwrap_err();
    assert!(matches!(refused, DispatchError::NotSaved { source: AppendFailure::Conflict(_), .. }), "{refused}");
    assert_eq!(iterate(store.read_all(&Filter::new())).count(), 2, "all of a batch or nothing");
}

#[test]
fn a_command_is_dispatched_in_a_session() {
    let (bus, store) = (CommandBus::new(), MessageStore::new());
    bus.handle("Place", place).unwrap();
    let session = store.open_session("s").unwrap();
    block_on(bus.dispatch_in(&session, &command())).unwrap();
    block_on(bus.dispatch(&store, &command())).unwrap();
    let sessions: Vec<_> = read(&store, "orders").iter().map(|it| it.session_id().map(str::to_owned)).collect();
    assert_eq!(sessions, [Some("s".to_owned()), None]);
}

/// Of eight threads that register the same name, one does; and every command reaches a handler meanwhile.
#[test]
fn handlers_are_registered_and_used_from_many_threads() {
    let (bus, store, won) = (CommandBus::new(), MessageStore::new(), AtomicUsize::new(0));
    bus.handle("Place", place).unwrap();
    thread::scope(|scope| {
        for thread in 0..8 {
            let (bus, store, won) = (&bus, &store, &won);
            scope.spawn(move || {
                for n in 0..20 {
                    if bus.handle(&format!("Command{n}"), place).is_ok() {
                        won.fetch_add(1, Ordering::Relaxed);
                    }
                    bus.handle(&format!("Own{thread}-{n}"), place).unwrap();
                    block_on(bus.dispatch(store, &command())).unwrap();
                }
            });
        }
    });
    assert_eq!(won.load(Ordering::Relaxed), 20);
    assert!((0..8).all(|thread| (0..20).all(|n| bus.handles(&format!("Own{thread}-{n}")))));
    assert_eq!(read(&store, "orders").len(), 160);
}
