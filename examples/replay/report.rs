//! What is shown at the end.

use std::fmt;
use std::time::Duration;

use crate::check::Check;

pub struct Report {
    rows: Vec<Row>,
    pub checks: Vec<Check>,
}

struct Row {
    what: &'static str,
    value: String,
    note: String,
}

impl Report {
    pub fn new(checks: Vec<Check>) -> Self {
        Self { rows: Vec::new(), checks }
    }

    pub fn row(&mut self, what: &'static str, value: String, note: impl Into<String>) {
        self.rows.push(Row { what, value, note: note.into() });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What has no note may be as long as it likes.
        let noted = self.rows.iter().filter(|row| !row.note.is_empty());
        let width = noted.map(|row| row.value.chars().count()).max().unwrap_or(0);
        for Row { what, value, note } in &self.rows {
            let line = format!("{what:<16} {value:<width$}  {note}");
            writeln!(f, "{}", line.trim_end())?;
        }
        writeln!(f)?;
        for Check { law, claim, fault } in &self.checks {
            match fault {
                None => writeln!(f, "{law:<8} holds  {claim}")?,
                Some(fault) => writeln!(f, "{law:<8} FAILS  {claim}: {fault}")?,
            }
        }
        Ok(())
    }
}

/// With a comma between thousands.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time, and how many of something that is in a second.
pub fn rate(events: u64, time: Duration) -> String {
    let a_second = u128::from(events) * 1_000_000_000 / time.as_nanos().max(1);
    let a_second = u64::try_from(a_second).unwrap_or(u64::MAX);
    format!("{}, {} events/s", duration(time), number(a_second))
}

fn duration(time: Duration) -> String {
    let microseconds = time.as_secs_f64() * 1e6;
    if microseconds < 1e3 { format!("{microseconds:.1} µs") } else { format!("{:.1} ms", microseconds / 1e3) }
}

/// What each event has of something.
pub fn each(amount: u64, events: u64) -> String {
    match amount.checked_div(events) {
        Some(each) => format!("{} an event", number(each)),
        None => "no events".to_owned(),
    }
}
