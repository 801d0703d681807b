//! Random programs of store operations: see `lockstep`.

use std::fs;
use std::path::Path;

use annals::store::{EventStore, MessageStore, Select, block_on, iterate};
use annals::{Expected, Message};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::lockstep;
use crate::shelf::Shelf;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// A message store over the log answers as one over the shelf.
    #[test]
    fn stores_answer_alike(program in vec(any::<u8>(), 0..60 * lockstep::STEP)) {
        lockstep::run(&program);
    }
}

/// What the fuzzer found interesting.
#[test]
fn the_corpus_runs() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/store_model");
    let mut count = 0;
    for entry in fs::read_dir(corpus).expect("the corpus is there") {
        lockstep::run(&fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0);
}

/// A message store over another backend.
#[test]
fn another_backend_is_put_behind_the_same_interface() {
    let store = MessageStore::builder().over(Shelf::lean);
    let session = store.open_session("s").unwrap();
    block_on(session.save("a", Message::event("E", "").unwrap())).unwrap();
    let late = session.save_with("a", Message::event("E", "").unwrap(), Expected::NoStream);
    assert_eq!(block_on(late).unwrap_err().to_string(), r#"stream "a" is at revision 0, expected not to exist"#);
    let read: Vec<_> = iterate(store.read(Select::all())).map(Result::unwrap).collect();
    assert_eq!((read.len(), read[0].session_id(), read[0].position().get()), (1, Some("s"), 10));
    assert!(block_on(store.reset()));
    let saved = block_on(store.save("a", Message::event("E", "").unwrap())).unwrap();
    assert_eq!((saved.position.get(), saved.revision.get()), (10, 0));
    assert_ne!(Shelf::lean().capabilities(), Shelf::new().capabilities());
}
