//! What the program was asked to do.

use std::ffi::OsString;
use std::path::PathBuf;

pub const HELP: &str = "\
Replays events into a log, reads them back, and checks that every one is there.

usage: replay [--threads N] [FILE | -]

  FILE         NDJSON, plain or gzipped; without it, the sample that ships
  -            standard input
  --threads N  threads that append, 1 to 64; 2 by default
  --help       this text

exit codes: 0 done, 1 input or output failed, 2 called wrongly, 3 a check failed
";

const MAX_THREADS: usize = 64;

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Replay(Options),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    pub source: Source,
    pub threads: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    Sample,
    Stdin,
    File(PathBuf),
}

/// # Errors
/// What is wrong with the arguments.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut options = Options { source: Source::Sample, threads: 2 };
    let mut only_files = false;
    let mut args = args;
    while let Some(arg) = args.next() {
        match arg.to_str().filter(|_| !only_files) {
            Some("--help" | "-h") => return Ok(Command::Help),
            Some("--") => only_files = true,
            Some("--threads") => options.threads = threads(args.next().as_ref())?,
            Some("-") => name(&mut options, Source::Stdin)?,
            Some(option) if option.starts_with('-') => return Err(format!("there is no option {option:?}")),
            _ => name(&mut options, Source::File(arg.into()))?,
        }
    }
    Ok(Command::Replay(options))
}

fn name(options: &mut Options, source: Source) -> Result<(), String> {
    if options.source != Source::Sample {
        return Err("more than one file was named".to_owned());
    }
    options.source = source;
    Ok(())
}

fn threads(value: Option<&OsString>) -> Result<usize, String> {
    value
        .and_then(|value| value.to_str()?.parse().ok())
        .filter(|threads| (1..=MAX_THREADS).contains(threads))
        .ok_or_else(|| format!("--threads takes a number from 1 to {MAX_THREADS}"))
}
