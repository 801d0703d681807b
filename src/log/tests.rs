//! What cannot be reached through the public face: a log at the end of its positions.

use super::append::LIMIT;
use super::keys::KEYED_LIMIT;
use super::{AppendError, AppendOptions, Batch, Builder, Indexes, Log};
use crate::model::{Expected, Message, Query};

fn event() -> Message<'static> {
    Message::event("E", "").unwrap()
}

/// A log with `left` positions left.
fn nearly_full(left: u64) -> Log {
    Builder::new().segment_slots(4).no_clock().build_at(LIMIT - left).unwrap()
}

/// No arithmetic wraps at the last position: appends fail, everything else goes on (I12).
#[test]
fn a_full_log_refuses_and_can_be_read() {
    let log = nearly_full(8);
    let stream = log.stream("s").unwrap();
    for left in (0..8).rev() {
        assert_eq!(stream.append(event()).unwrap().position.get(), LIMIT - left);
    }
    for _ in 0..2 {
        assert!(matches!(stream.append(event()).unwrap_err().error, AppendError::Full));
        assert!(matches!(log.append_batch(Batch::new().add("s", event())).unwrap_err().error, AppendError::Full));
    }
    assert_eq!(log.end().get(), LIMIT);
    assert_eq!(log.read().iter().count(), 8);
    assert_eq!(log.read().backwards().iter().next().unwrap().position().get(), LIMIT);
    assert_eq!(stream.read().iter().count(), 8);
    assert_eq!(log.truncate_before(LIMIT).get(), LIMIT);
    assert_eq!(log.read().iter().count(), 1);
}

/// In a log with indexes positions end earlier, at what a cell of a bucket can name.
#[test]
fn a_log_with_indexes_is_full_earlier() {
    let names = Indexes::new().names().buckets(1);
    let make = || Builder::new().segment_slots(4).no_clock().indexes(names).build_at(KEYED_LIMIT - 3).unwrap();
    let log = make();
    for left in (0..3).rev() {
        assert_eq!(log.append("s", event()).unwrap().position.get(), KEYED_LIMIT - left);
    }
    assert!(matches!(log.append("s", event()).unwrap_err().error, AppendError::Full));
    let conditional = AppendOptions::from(Expected::exactly(2));
    assert!(matches!(log.append_with("s", event(), conditional).unwrap_err().error, AppendError::Full));
    assert!(matches!(log.append_batch(Batch::new().add("s", event())).unwrap_err().error, AppendError::Full));
    assert_eq!(log.read().matching(Query::name("E").unwrap()).iter().count(), 3);
    let batch = |count| (0..count).fold(Batch::new(), |batch, _| batch.add("s", event()));
    let log = make();
    assert!(matches!(log.append_batch(batch(4)).unwrap_err().error, AppendError::Full));
    assert_eq!(log.append_batch(batch(3)).unwrap().last.get(), KEYED_LIMIT);
}

/// A batch that does not fit is refused whole; what fits still fits.
#[test]
fn a_batch_over_the_last_position_is_refused_whole() {
    let log = nearly_full(4);
    let three = Batch::new().add("s", event()).add("t", event()).add("s", event());
    log.append_batch(three.clone()).unwrap();
    let refused = log.append_batch(three).unwrap_err();
    assert!(matches!(refused.error, AppendError::Full));
    assert_eq!(refused.rejected.len(), 3);
    assert_eq!(log.append("t", event()).unwrap().position.get(), LIMIT);
}

/// The last position is a position: a batch may end there.
#[test]
fn a_batch_up_to_the_last_position_is_appended() {
    let log = nearly_full(4);
    log.append("t", event()).unwrap();
    let three = Batch::new().add("s", event()).add("t", event()).add("s", event());
    assert_eq!(log.append_batch(three).unwrap().last.get(), LIMIT);
    assert_eq!(log.end().get(), LIMIT);
    assert!(matches!(log.append("s", event()).unwrap_err().error, AppendError::Full));
}

/// Blocks of a stream's index leave with the records they name; who reads the stream goes on behind them (rule 4).
#[test]
fn blocks_of_an_index_leave_with_their_records() {
    let log = Builder::new().segment_slots(2).no_clock().build().unwrap();
    let stream = log.stream("s").unwrap();
    (0..1000).for_each(|_| _ = stream.append(event()).unwrap());
    let mut cursor = stream.read().cursor();
    assert_eq!(cursor.next().unwrap().revision().get(), 0);
    log.truncate_before(801);
    let first = || {
        let guard = log.core().pin();
        // SAFETY: entries live as long as the log.
        unsafe { stream.entry().as_ref() }.index.first_revision(&guard)
    };
    // Threads of other tests may delay the end of an epoch. The cursor keeps its segment until it goes on.
    let settle = |left| {
        while log.unreturned_segments() > left {
            log.maintain();
        }
    };
    settle(1);
    assert_eq!(first(), 0, "the cursor's segment keeps its block");
    let mut rest = 0;
    while let Some(envelope) = cursor.next() {
        rest += 1;
        assert_eq!(envelope.revision().get(), 799 + rest);
    }
    drop(cursor);
    settle(0);
    assert_eq!((rest, first()), (200, 504), "blocks end at 8, 24, 56, 120, 248, 504, 1016");
    assert_eq!(stream.read().backwards().iter().count(), 200);
    assert_eq!(stream.append(event()).unwrap().revision.get(), 1000);
}

/// A record has no more fields than it needs: one appended by a batch takes what one appended alone does, and only its
/// records before the last have a link to the next.
#[test]
fn records_have_no_fields_in_vain() {
    let log = Builder::new().no_clock().build().unwrap();
    log.append("s", event()).unwrap();
    log.append_batch(Batch::new().add("s", event())).unwrap();
    log.append_batch(Batch::new().add("s", event()).add("s", event())).unwrap();
    let guard = log.core().pin();
    let record = |index| log.core().segment_of(index, &guard).unwrap().record(index);
    assert_eq!([0, 1, 2, 3].map(|index| record(index).weight() - record(0).weight()), [0, 0, 8, 0]);
    assert!((record(0).time(), record(0).sum()) == (None, None));
}
