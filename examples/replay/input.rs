//! Where lines come from: the sample, a file, standard input; plain or gzipped.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Source;

const SAMPLE: &[u8] = include_bytes!("sample.ndjson");
const GZIP: [u8; 2] = [0x1F, 0x8B];

pub struct Input {
    pub reader: Box<dyn BufRead>,
    /// Counts the bytes as they are stored; drawn when somebody watches.
    pub progress: ProgressBar,
    name: String,
    gzip: bool,
}

impl Input {
    pub fn title(&self) -> String {
        format!("{}{}", self.name, if self.gzip { " (gzip)" } else { "" })
    }
}

/// # Errors
/// Why not even the first bytes could be read.
pub fn open(source: &Source) -> Result<Input, String> {
    match source {
        Source::Sample => input("the sample".to_owned(), SAMPLE, Some(SAMPLE.len() as u64)),
        Source::Stdin => stdin(),
        Source::File(path) => file(path),
    }
}

fn stdin() -> Result<Input, String> {
    input("standard input".to_owned(), io::stdin(), None)
}

fn file(path: &Path) -> Result<Input, String> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
    // A pipe has a length of zero.
    let len = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|data| data.len());
    input(name, file, len)
}

fn input(name: String, stored: impl Read + 'static, len: Option<u64>) -> Result<Input, String> {
    let progress = progress(len);
    let mut stored = progress.wrap_read(stored);
    let mut head = Vec::with_capacity(GZIP.len());
    stored.by_ref().take(GZIP.len() as u64).read_to_end(&mut head).map_err(|error| format!("{name}: {error}"))?;
    let gzip = head == GZIP;
    let stored = io::Cursor::new(head).chain(stored);
    let reader: Box<dyn BufRead> =
        if gzip { Box::new(BufReader::new(MultiGzDecoder::new(stored))) } else { Box::new(BufReader::new(stored)) };
    Ok(Input { reader, progress, name, gzip })
}

/// Somebody put a pipe or a file there. Not `/dev/null`, nor a terminal: they say nothing about what is wanted.
/// Without colours, so there are none to turn off by `NO_COLOR`.
fn progress(len: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match len {
        Some(len) => (ProgressBar::new(len), "{bar:40} {bytes} of {total_bytes}, {elapsed}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes}, {elapsed}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("a template is a constant"))
}
