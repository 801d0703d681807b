//! Random programs of deliveries, and those that the fuzzer has found: see `delivery_model`.

use proptest::prelude::*;

use crate::corpus::replay;
use crate::delivery_model::{CHUNK, decode, run};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// L9, L10, L12 to L15.
    #[test]
    fn delivery_agrees_with_the_model(bytes in prop::collection::vec(any::<u8>(), 0..40 * CHUNK)) {
        run(&decode(&bytes));
    }
}

#[test]
fn the_corpus_of_the_fuzzer_is_delivered_as_the_model_says() {
    replay("delivery_model", |bytes| run(&decode(bytes)));
}
