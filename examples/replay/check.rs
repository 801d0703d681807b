//! The log read back: in total and by stream, forwards and backwards, against the ledger.

use std::collections::HashMap;

use annals::{Cursor, Envelope, View};

use crate::ledger::{Ledger, Tally};

pub struct Check {
    /// Which law it is about.
    pub law: &'static str,
    pub claim: &'static str,
    /// What was found instead.
    pub fault: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Forwards,
    Backwards,
}

const BOTH: [Direction; 2] = [Direction::Forwards, Direction::Backwards];

pub fn all(view: &View, ledger: &Ledger) -> Vec<Check> {
    let check = |law, claim, result: Result<(), String>| Check { law, claim, fault: result.err() };
    let answers = ledger.surprise.clone().map_or(Ok(()), Err);
    vec![
        check("L1", "positions are 1, 2, 3, ... without a gap, both ways", positions(view, ledger)),
        check(
            "L2",
            "revisions are 0, 1, 2, ... in each stream, in the order of positions, both ways",
            streams(view, ledger),
        ),
        check("L3 log", "every event is there once: name, payload, tags, time; both ways", log_content(view, ledger)),
        check("L3 each", "the same, stream by stream", stream_content(view, ledger)),
        check("answers", "each append told the revision due, and the log ended at the event appended last", answers),
    ]
}

fn positions(view: &View, ledger: &Ledger) -> Result<(), String> {
    for direction in BOTH {
        in_sequence(log(view, direction), direction, 1, ledger.events(), |envelope| envelope.position().get())
            .map_err(|fault| format!("{direction:?}: position {fault}"))?;
    }
    Ok(())
}

fn streams(view: &View, ledger: &Ledger) -> Result<(), String> {
    for (id, tally) in &ledger.streams {
        for direction in BOTH {
            let fault = |fault| format!("{direction:?} in {id:?}: revision {fault}");
            let revision = |envelope: &Envelope| envelope.revision().get();
            in_sequence(stream(view, id, direction), direction, 0, tally.events, revision).map_err(fault)?;
            rising(stream(view, id, direction), direction)
                .map_err(|fault| format!("{direction:?} in {id:?}: {fault}"))?;
        }
    }
    Ok(())
}

fn log_content(view: &View, ledger: &Ledger) -> Result<(), String> {
    for direction in BOTH {
        let mut found: HashMap<&str, Tally> = HashMap::new();
        let mut cursor = log(view, direction);
        while let Some(envelope) = cursor.next() {
            let Some((id, _)) = ledger.streams.get_key_value(envelope.stream()) else {
                return Err(format!("{direction:?}: nothing was appended to stream {:?}", envelope.stream()));
            };
            found.entry(id).or_default().take(envelope);
        }
        for (id, given) in &ledger.streams {
            let found = found.get(&**id).copied().unwrap_or_default();
            same(id, given, &found).map_err(|fault| format!("{direction:?}: {fault}"))?;
        }
    }
    Ok(())
}

fn stream_content(view: &View, ledger: &Ledger) -> Result<(), String> {
    for (id, given) in &ledger.streams {
        for direction in BOTH {
            let mut found = Tally::default();
            let mut cursor = stream(view, id, direction);
            while let Some(envelope) = cursor.next() {
                if envelope.stream() != &**id {
                    return Err(format!("{direction:?} in {id:?}: an event of {:?}", envelope.stream()));
                }
                found.take(envelope);
            }
            same(id, given, &found).map_err(|fault| format!("{direction:?}: {fault}"))?;
        }
    }
    Ok(())
}

fn log(view: &View, direction: Direction) -> Cursor {
    match direction {
        Direction::Forwards => view.read().cursor(),
        Direction::Backwards => view.read().backwards().cursor(),
    }
}

fn stream(view: &View, id: &str, direction: Direction) -> Cursor {
    match direction {
        Direction::Forwards => view.read_stream(id).cursor(),
        Direction::Backwards => view.read_stream(id).backwards().cursor(),
    }
}

/// The numbers are `count` many from `first` on, none left out and none too many.
fn in_sequence(
    mut cursor: Cursor,
    direction: Direction,
    first: u64,
    count: u64,
    number: impl Fn(&Envelope) -> u64,
) -> Result<(), String> {
    for step in 0..count {
        let due = match direction {
            Direction::Forwards => first + step,
            Direction::Backwards => first + count - 1 - step,
        };
        match cursor.next().map(&number) {
            Some(found) if found == due => {}
            Some(found) => return Err(format!("{found} where {due} is due")),
            None => return Err(format!("{due} is due, and nothing is there")),
        }
    }
    cursor.next().map(number).map_or(Ok(()), |found| Err(format!("{found} after the last one due")))
}

/// Positions go one way: up forwards, down backwards.
fn rising(mut cursor: Cursor, direction: Direction) -> Result<(), String> {
    let mut last = None;
    while let Some(position) = cursor.next().map(Envelope::position) {
        let rises = last.is_none_or(|last| match direction {
            Direction::Forwards => last < position,
            Direction::Backwards => last > position,
        });
        if !rises {
            return Err(format!("position {position} is out of order"));
        }
        last = Some(position);
    }
    Ok(())
}

fn same(id: &str, given: &Tally, found: &Tally) -> Result<(), String> {
    if given == found {
        return Ok(());
    }
    let count = |tally: &Tally| format!("{} events, {} bytes of payload", tally.events, tally.payload_bytes);
    if count(given) == count(found) {
        return Err(format!("stream {id:?}: other contents came out than went in"));
    }
    Err(format!("stream {id:?}: {} went in, {} came out", count(given), count(found)))
}
