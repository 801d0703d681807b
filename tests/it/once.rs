//! Appends that happen once, known by message ids.

use std::sync::Barrier;
use std::thread;

use annals::{
    AppendError, AppendOptions, Batch, Condition, Expected, Indexes, Log, Message, Query, Retention, Revision,
};

fn message(id: &str) -> Message<'static> {
    Message::builder("E").message_id(id.to_owned()).build().unwrap()
}

fn once() -> AppendOptions<'static> {
    AppendOptions::new().once()
}

fn logs() -> [Log; 2] {
    let build = |indexes| Log::builder().indexes(indexes).once_within(4).build().unwrap();
    [build(Indexes::new()), build(Indexes::new().message_ids())]
}

/// A repeat returns where the first went, is asked nothing, and appends nothing; whichever stream it names.
#[test]
fn a_repeat_returns_the_first_result() {
    for log in logs() {
        let first = log.append_with("a", message("m"), once().expected(Expected::NoStream)).unwrap();
        log.append("b", message("other")).unwrap();
        let condition = Condition::none(Query::all());
        for again in [
            log.append_with("a", message("m"), once().expected(Expected::NoStream)).unwrap(),
            log.append_with("b", message("m"), once().expected(Expected::Exactly(Revision::new(7)))).unwrap(),
            log.append_with("a", message("m"), once().condition(&condition)).unwrap(),
            log.stream("a").unwrap().append_with(message("m"), once()).unwrap(),
            log.appender().append_with(&log.stream("a").unwrap(), message("m"), once()).unwrap(),
        ] {
            assert!(!first.repeated && again.repeated);
            assert_eq!((again.position, again.revision), (1.into(), 0.into()));
        }
        assert_eq!(log.end(), 2);
    }
}

/// The window: an id is found among as many of the last envelopes as was said, and is forgotten after that.
#[test]
fn an_id_is_known_within_the_window() {
    for log in logs() {
        log.append_with("s", message("m"), once()).unwrap();
        for n in 0..3 {
            log.append("s", message(&n.to_string())).unwrap();
        }
        assert!(log.append_with("s", message("m"), once()).unwrap().repeated);
        log.append("s", message("3")).unwrap();
        assert!(!log.append_with("s", message("m"), once()).unwrap().repeated);
        assert_eq!(log.end(), 6);
    }
}

/// What retention has removed is forgotten: the memory of ids is the log's own.
#[test]
fn an_id_that_was_removed_is_forgotten() {
    let mut retention = Retention::default();
    retention.records = Some(1);
    let log = Log::builder().retention(retention).indexes(Indexes::new().message_ids()).build().unwrap();
    log.append_with("s", message("m"), once()).unwrap();
    log.append("s", message("n")).unwrap();
    log.maintain();
    assert!(!log.append_with("s", message("m"), once()).unwrap().repeated);
}

/// Terms that are not met refuse a message that is new, and give it back; without an id there is nothing to know it by.
#[test]
fn a_new_message_is_appended_on_its_terms() {
    for log in logs() {
        log.append("s", message("m")).unwrap();
        let refused = log.append_with("s", message("n"), once().expected(Expected::NoStream)).unwrap_err();
        assert!(refused.conflict().is_some());
        assert_eq!(refused.rejected.message_id(), Some("n"));
        let condition = Condition::none(Query::name("E").unwrap());
        let refused = log.append_with("s", message("n"), once().condition(&condition)).unwrap_err();
        let AppendError::ConditionFailed(failed) = refused.error else { panic!("{}", refused.error) };
        assert_eq!((failed.position().get(), failed.condition(), failed.part()), (1, &condition, &condition));
        assert_eq!(failed.missed().iter().count(), 1);
        let batch = Batch::new().add("s", message("n")).condition(condition.clone()).once();
        let refused = log.append_batch(batch).unwrap_err();
        let AppendError::ConditionFailed(failed) = &refused.error else { panic!("{}", refused.error) };
        assert_eq!((failed.position().get(), failed.condition(), failed.part()), (1, &condition, &condition));
        assert_eq!(refused.rejected.given_condition(), Some(&condition));
        let refused = log.append_with("s", Message::event("E", "").unwrap(), once()).unwrap_err();
        assert!(matches!(refused.error, AppendError::MissingMessageId));
        assert_eq!(log.end(), 1);
    }
}

/// A batch is repeated as a whole, or refused when only a part of it is there; the refusal gives it back as it was.
#[test]
fn a_batch_is_repeated_as_a_whole() {
    for log in logs() {
        let batch = |ids: &[&str]| ids.iter().fold(Batch::new(), |batch, id| batch.add("s", message(id)));
        let first = log.append_batch(batch(&["1", "2"]).once()).unwrap();
        let again = log.append_batch(batch(&["1", "2"]).once()).unwrap();
        assert!(log.appender().append_batch(batch(&["1", "2"]).once()).unwrap().repeated);
        assert_eq!((first.repeated, again.repeated), (false, true));
        assert_eq!((again.first, again.last), (1.into(), 2.into()));
        assert_eq!(first.revisions, again.revisions);
        for other in [&["1", "3"][..], &["2", "1"], &["0", "2"], &["1", "2", "3"]] {
            let refused = log.append_batch(batch(other).once()).unwrap_err();
            assert!(matches!(refused.error, AppendError::PartlyRepeated { .. }), "{other:?}: {}", refused.error);
            assert!(refused.rejected.is_once(), "as it was given");
            let back: Vec<_> = refused.rejected.into_messages().map(|m| m.message_id().unwrap().to_owned()).collect();
            assert_eq!(back, other);
        }
        let unnamed = Batch::new().add("s", Message::event("E", "").unwrap());
        let refused = log.append_batch(unnamed.once()).unwrap_err();
        assert!(matches!(refused.error, AppendError::MissingMessageId));
        assert_eq!(log.end(), 2);
    }
}

/// Eight threads append the same messages, each in another order: each message is there once, and everybody is told the same
/// place.
#[test]
fn of_many_tries_one_appends() {
    const THREADS: usize = 8;
    const MESSAGES: usize = 512;
    for indexes in [Indexes::new(), Indexes::new().message_ids()] {
        let log = Log::builder().indexes(indexes).build().unwrap();
        log.append("s", message("the stream exists")).unwrap();
        let barrier = Barrier::new(THREADS);
        let tell = |thread: usize| {
            barrier.wait();
            let mut places = vec![(0, false); MESSAGES];
            for n in 0..MESSAGES {
                let which = n / 8 * 8 + (n + thread) % 8;
                let expected = if n % 2 == 0 { Expected::Any } else { Expected::Exists };
                let options = once().expected(expected);
                let appended = log.append_with("s", message(&which.to_string()), options).unwrap();
                let fresh = places[which].1 | !appended.repeated;
                places[which] = (appended.position.get(), fresh);
            }
            places
        };
        let all: Vec<_> = thread::scope(|scope| {
            let handles: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || tell(n))).collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).collect()
        });
        assert_eq!(log.end().get(), MESSAGES as u64 + 1);
        for n in 0..MESSAGES {
            assert!(all.iter().all(|places| places[n].0 == all[0][n].0), "everybody is told where {n} is");
            assert_eq!(all.iter().filter(|places| places[n].1).count(), 1, "one appended {n}");
            assert_eq!(log.get(all[0][n].0).unwrap().message_id(), Some(&*n.to_string()));
        }
    }
}
