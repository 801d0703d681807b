//! What cannot be reached through the public face: a log at the end of its positions.

use super::append::LIMIT;
use super::{AppendError, Batch, Builder, Log};
use crate::model::Message;

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
    let log = nearly_full(3);
    let three = Batch::new().add("s", event()).add("t", event()).add("s", event());
    assert_eq!(log.append_batch(three).unwrap().last.get(), LIMIT);
    assert_eq!(log.end().get(), LIMIT);
    assert!(matches!(log.append("s", event()).unwrap_err().error, AppendError::Full));
}
