//! Replays a file of events into a log, reads them back, and checks that every one is there.
//!
//! ```text
//! cargo run --release --example replay [-- [--threads N] [FILE.ndjson[.gz] | -]]
//! ```
//!
//! One event a line: `stream`, `type`, `ts`, `tags`, `data`; see the README beside this file. The file is taken in
//! rounds that fit in memory. A round is parsed, then appended by several threads with nothing else running, so that
//! the time of the one is not in the time of the other. Lines that are no events are reported, counted and left out.
//!
//! Exits with 0; 1 when the input cannot be read to its end, or the report not be written; 2 when it was called
//! wrongly; 3 when a check failed.

mod args;
mod check;
mod event;
mod faults;
mod input;
mod intake;
mod ledger;
mod lines;
mod memory;
mod pace;
mod report;
mod writers;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use annals::Log;

use args::{Command, Options};
use check::Check;
use faults::Faults;
use input::Input;
use intake::{End, Intake};
use ledger::Ledger;
use pace::Pace;
use report::Report;
use writers::Writers;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// Why it did not end well.
enum Failure {
    Usage(String),
    Input(String),
    Output(std::io::Error),
    Checks(usize),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let (code, reason) = match failure {
                Failure::Input(error) => (1, error),
                Failure::Output(error) => (1, format!("standard output: {error}")),
                Failure::Usage(error) => (2, format!("{error}\n\n{}", args::HELP)),
                Failure::Checks(failed) => (3, format!("{failed} checks failed")),
            };
            eprintln!("replay: {reason}");
            ExitCode::from(code)
        }
    }
}

fn run() -> Result<(), Failure> {
    match args::parse(std::env::args_os().skip(1)).map_err(Failure::Usage)? {
        Command::Help => print(args::HELP),
        Command::Replay(options) => {
            let report = replay(&options)?;
            print(&report.to_string())?;
            match report.checks.iter().filter(|check| check.fault.is_some()).count() {
                0 => Ok(()),
                failed => Err(Failure::Checks(failed)),
            }
        }
    }
}

/// Whoever reads standard output may have seen enough; any other reason not to take the text is told.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(()),
    }
}

/// What is known once the input is in the log.
struct Replayed {
    ledger: Ledger,
    malformed: u64,
    parse: Duration,
    prepare: Duration,
    append: Duration,
}

fn replay(options: &Options) -> Result<Report, Failure> {
    let input = input::open(&options.source).map_err(Failure::Input)?;
    let title = input.title();
    let log = Log::new();
    let replayed = take_in(input, &log, options.threads).map_err(Failure::Input)?;
    let checks = check::all(&log.view(), &replayed.ledger);
    let paces = [Pace::of_log(&log.view()), Pace::of_streams(&log.view(), &replayed.ledger)];
    let held = memory::given_back_by(|| drop(log));
    Ok(report(title, options.threads, &replayed, paces, held, checks))
}

/// Round after round, until the input ends.
fn take_in(input: Input, log: &Log, threads: usize) -> Result<Replayed, String> {
    let title = input.title();
    let mut faults = Faults::new(input.progress.clone());
    let mut writers = Writers::new(log, threads);
    let mut intake = Intake::new(input.reader);
    let mut parse = Duration::ZERO;
    loop {
        let began = Instant::now();
        let mut round = intake.round();
        parse += began.elapsed();
        round.faults.extend(writers.append(&round.events));
        faults.report(round.faults);
        match round.end {
            End::More => {}
            End::Input => break,
            End::Error(error) => {
                faults.finish();
                let events = writers.events();
                return Err(format!("{title}: {error}, {}; {events} events appended", intake.how_far()));
            }
        }
    }
    let malformed = faults.finish();
    let (prepare, append) = (writers.prepare, writers.append);
    Ok(Replayed { ledger: writers.into_ledger(), malformed, parse, prepare, append })
}

fn report(
    input: String,
    threads: usize,
    replayed: &Replayed,
    [log_pace, stream_pace]: [Pace; 2],
    held: u64,
    checks: Vec<Check>,
) -> Report {
    let Replayed { ledger, malformed, parse, prepare, append } = replayed;
    let events = ledger.events();
    let payload = ledger.payload_bytes();
    let rate = |time: &Duration| report::rate(events, *time);
    let each = |bytes: u64| report::each(bytes, events);
    let threads = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
    let mut report = Report::new(checks);
    report.row("input", input, "");
    report.row("events", report::number(events), "");
    report.row("streams", report::number(ledger.streams.len() as u64), "");
    report.row("names", report::number(ledger.names.len() as u64), "");
    report.row("malformed lines", report::number(*malformed), "left out");
    report.row("payload", format!("{} bytes", report::number(payload)), each(payload));
    report.row("parse", rate(parse), "read, unpack, JSON, timestamps; 1 thread");
    report.row("prepare", rate(prepare), "find stream handles, build messages; 1 thread");
    report.row("append", rate(append), format!("the append calls alone, wall time; {threads}"));
    report.row("read log", log_pace.to_string(), "forwards, first and last byte of each payload; 1 thread");
    report.row("read streams", stream_pace.to_string(), "one after the other, the same; 1 thread");
    report.row("memory", format!("{} bytes", report::number(held)), format!("{}, payload included", each(held)));
    report
}
