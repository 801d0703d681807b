//! The program in `examples/replay`, run from outside: what it counts, what it refuses, how it exits. Its checks are
//! tested from inside: a ledger that says otherwise than the log must be noticed.
//!
//! `cargo test` builds the program before it runs this; `cargo test --test replay` does not, and needs
//! `cargo build --example replay` before it.

// Parts of the program, for the test of its checks.
#[allow(dead_code, reason = "only the program shows what a check claims")]
#[path = "../examples/replay/check.rs"]
mod check;
#[allow(dead_code, reason = "only the program needs the line of an event")]
#[path = "../examples/replay/event.rs"]
mod event;
#[allow(dead_code, reason = "only the program adds up payloads")]
#[path = "../examples/replay/ledger.rs"]
mod ledger;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;

const SAMPLE: &[u8] = include_bytes!("../examples/replay/sample.ndjson");
const SAMPLE_EVENTS: u64 = 300;
const SAMPLE_STREAMS: u64 = 59;

/// What a run said.
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program speaks UTF-8");
        let code = output.status.code().expect("the program is not killed");
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The number in a row of the table.
    fn row(&self, name: &str) -> u64 {
        let line = self.stdout.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("no row {name:?}: {}{}", self.stdout, self.stderr));
        let digits = value.split_whitespace().next().expect("a row has a value").replace(',', "");
        digits.parse().expect("the value is a number")
    }

    /// It ran to the end, every check held, and this is what it counted.
    #[track_caller]
    fn replayed(&self, events: u64, malformed: u64) {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout.matches(" holds ").count(), 5, "{}", self.stdout);
        assert!(!self.stdout.contains("FAILS"), "{}", self.stdout);
        assert_eq!((self.row("events"), self.row("malformed lines")), (events, malformed), "{}", self.stderr);
    }

    /// It stopped with this code, said this, and showed no table.
    #[track_caller]
    fn stopped(&self, code: i32, saying: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        for words in saying {
            assert!(self.stderr.contains(words), "{words:?} is not in {:?}", self.stderr);
        }
    }
}

/// Examples are built beside the directory of the test executables.
fn program() -> Command {
    let test = std::env::current_exe().expect("a test knows its executable");
    let profile = test.parent().and_then(Path::parent).expect("it lies in <profile>/deps");
    let program = profile.join("examples").join(format!("replay{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "not built yet: run `cargo build --example replay`");
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Said {
    Said::of(program().args(args).output().expect("the program starts"))
}

fn run_on(path: &Path) -> Said {
    Said::of(program().arg(path).output().expect("the program starts"))
}

fn run_piped(args: &[&str], input: &[u8]) -> Said {
    let mut child = program()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("it is piped").write_all(input).expect("the program reads its input");
    Said::of(child.wait_with_output().expect("the program ends"))
}

/// A file of one test's own, named after it.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).expect("the directory for tests is writable");
    path
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).expect("a Vec takes everything");
    encoder.finish().expect("a Vec takes everything")
}

/// A line that is an event.
fn good(number: usize) -> String {
    let stream = number % 13;
    format!(
        r#"{{"stream":"s-{stream}","type":"Counted","ts":"2024-02-29T12:00:00.5+05:30","tags":["n:{number}"],"data":{{"n": {number}}}}}"#
    )
}

/// A line with one field given as JSON, the others as they should be.
fn with(field: &str, json: &str) -> Vec<u8> {
    let fields = [("stream", r#""s""#), ("type", r#""T""#), ("ts", "null"), ("tags", "[]"), ("data", "1")];
    let fields = fields.map(|(name, usual)| format!("\"{name}\":{}", if name == field { json } else { usual }));
    format!("{{{}}}", fields.join(",")).into_bytes()
}

fn without(field: &str) -> Vec<u8> {
    let named = format!("\"{field}\":");
    let line = String::from_utf8(with("", "")).expect("it is ASCII");
    let kept: Vec<_> = line.trim_matches(['{', '}']).split(',').filter(|text| !text.starts_with(&named)).collect();
    format!("{{{}}}", kept.join(",")).into_bytes()
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

#[test]
fn the_sample_is_used_when_nothing_is_named() {
    let said = run(&[]);
    said.replayed(SAMPLE_EVENTS, 0);
    assert!(said.stdout.contains("the sample"));
    assert_eq!((said.row("streams"), said.row("names")), (SAMPLE_STREAMS, 3));
    assert_eq!(said.stderr, "", "no progress bar unless somebody watches");
    assert!(!said.stdout.contains('\x1B'), "no colours");
}

#[test]
fn any_number_of_threads_finds_the_same() {
    for threads in ["1", "3", "64"] {
        let said = run(&["--threads", threads]);
        said.replayed(SAMPLE_EVENTS, 0);
        assert_eq!(said.row("streams"), SAMPLE_STREAMS);
    }
}

#[test]
fn gzip_is_known_by_its_content() {
    let said = run_on(&file("gzip_without_the_name.ndjson", &gzip(SAMPLE)));
    said.replayed(SAMPLE_EVENTS, 0);
    assert!(said.stdout.contains("(gzip)"));
    let said = run_on(&file("plain_with_the_name.ndjson.gz", SAMPLE));
    said.replayed(SAMPLE_EVENTS, 0);
    assert!(!said.stdout.contains("(gzip)"));
}

#[test]
fn gzip_files_put_together_are_one() {
    let both = [gzip(SAMPLE), gzip(SAMPLE)].concat();
    let said = run_on(&file("two_members.ndjson.gz", &both));
    said.replayed(2 * SAMPLE_EVENTS, 0);
    assert_eq!(said.row("streams"), SAMPLE_STREAMS);
}

#[test]
fn standard_input_is_read_when_asked_for() {
    run_piped(&["-"], SAMPLE).replayed(SAMPLE_EVENTS, 0);
    run_piped(&["-"], &gzip(SAMPLE)).replayed(SAMPLE_EVENTS, 0);
    run_piped(&["-"], b"").replayed(0, 0);
    run_piped(&["-"], b"{").replayed(0, 1);
}

#[test]
fn an_empty_file_is_an_empty_log() {
    for (name, content) in
        [("empty.ndjson", Vec::new()), ("empty.ndjson.gz", gzip(b"")), ("blank.ndjson", b"\n \r\n".to_vec())]
    {
        let said = run_on(&file(name, &content));
        said.replayed(0, 0);
        assert_eq!(said.row("streams"), 0);
    }
}

/// Each of these between two events: it is reported with its number and the reason, and the two are not touched.
#[test]
fn a_malformed_line_is_named_and_left_out() {
    let tags = |count| format!("[{}]", (0..count).map(|n| format!("\"t{n}\"")).collect::<Vec<_>>().join(","));
    let long_tags = format!("[{}]", (0..40).map(|n| quoted(&format!("{n:0>250}"))).collect::<Vec<_>>().join(","));
    let malformed: Vec<(Vec<u8>, &str)> = vec![
        (b"hello".to_vec(), "not a JSON object"),
        (br#"["s","T",null,[],1]"#.to_vec(), "not a JSON object"),
        (br#"{"stream":"s""#.to_vec(), "EOF"),
        ([with("", ""), b"x".to_vec()].concat(), "trailing characters"),
        ([with("", ""), with("", "")].concat(), "trailing characters"),
        (
            br#"{"stream":"s","stream":"s","type":"T","ts":null,"tags":[],"data":1}"#.to_vec(),
            "duplicate field `stream`",
        ),
        (without("stream"), "missing field `stream`"),
        (without("type"), "missing field `type`"),
        (without("ts"), "missing field `ts`"),
        (without("tags"), "missing field `tags`"),
        (without("data"), "missing field `data`"),
        (with("stream", "7"), "invalid type"),
        (with("tags", "null"), "invalid type"),
        (with("tags", "[null]"), "invalid type"),
        (with("data", "{"), "at column"),
        (with("stream", r#""\ud800""#), "at column"),
        (with("stream", r#""""#), "stream id is not valid: the name is empty"),
        (with("stream", &quoted(&"s".repeat(256))), "256 bytes, at most 255"),
        (with("stream", r#""a\u0000b""#), "stream id is not valid: the name has a control character at byte 1"),
        (with("type", r#""""#), "message's name is not valid: the name is empty"),
        (with("type", &quoted(&"é".repeat(128))), "256 bytes, at most 255"),
        (with("type", r#""\u0085""#), "control character at byte 0"),
        (with("tags", r#"["a",""]"#), "message's tag is not valid: the name is empty"),
        (with("tags", &format!("[{}]", quoted(&"t".repeat(256)))), "256 bytes, at most 255"),
        (with("tags", r#"["a\tb"]"#), "control character at byte 1"),
        (with("tags", &tags(5000)), "bytes of metadata are more than the 8192 this log allows"),
        (with("tags", &long_tags), "bytes of metadata are more than the 8192 this log allows"),
        (with("ts", r#""yesterday""#), r#"ts "yesterday""#),
        (with("ts", r#""2024-01-01""#), r#"ts "2024-01-01""#),
        (with("ts", r#""2024-01-01T00:00:00""#), r#"ts "2024-01-01T00:00:00""#),
        (with("ts", r#""2023-02-29T00:00:00Z""#), r#"ts "2023-02-29T00:00:00Z""#),
        (with("ts", r#""3000-01-01T00:00:00Z""#), "not between the years 1677 and 2262"),
        (with("ts", "1704067200"), "invalid type"),
        (b"{\"stream\":\"\xFF\"}".to_vec(), "invalid UTF-8 at byte 11"),
        ([b"{\"further\":\"\xC3\x28\",".to_vec(), with("", "")[1..].to_vec()].concat(), "invalid UTF-8 at byte 12"),
        (with("data", &quoted(&"x".repeat(1024 * 1024 - 1))), "1048577 bytes of payload are more than the 1048576"),
        (with("data", &quoted(&"x".repeat(3 * 1024 * 1024))), "bytes are more than the 2097152 a line may have"),
    ];
    for (at, (line, reason)) in malformed.iter().enumerate() {
        let content = [good(0).as_bytes(), b"\n", line, b"\n", good(1).as_bytes(), b"\n"].concat();
        let said = run_on(&file(&format!("malformed_{at}.ndjson"), &content));
        said.replayed(2, 1);
        assert_eq!(said.row("streams"), 2);
        assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
        let told = said.stderr.strip_prefix("line 2: ").unwrap_or_else(|| panic!("{}", said.stderr));
        assert!(told.contains(reason), "{reason:?} is not in {told:?}");
    }
}

/// At the edge of what is allowed, and what JSON and RFC 3339 allow beside the usual.
#[test]
fn what_is_unusual_and_well_formed_is_taken() {
    let unusual = [
        with("stream", &quoted(&"s".repeat(255))),
        with("stream", r#""\u00e9\ud83d\ude00 \"q\" \\""#),
        with("type", &quoted(&"🦀".repeat(63))),
        with("ts", r#""2016-12-31T23:59:60Z""#),
        with("ts", r#""2024-01-01t00:00:00z""#),
        with("ts", r#""1969-12-31T23:59:59.123456789-23:59""#),
        with("data", "null"),
        with("data", r#""\u0000\ud800""#),
        with("data", "1e999999999999999999999999"),
        with("data", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
        with("data", &quoted(&"x".repeat(1024 * 1024 - 2))),
        with("more\":[0.5],\"stream", r#""s""#),
        [b" \t".to_vec(), with("", ""), b" \r".to_vec()].concat(),
    ];
    // The last line is not ended.
    let said = run_on(&file("unusual.ndjson", &unusual.join(&b'\n')));
    said.replayed(unusual.len() as u64, 0);
    assert_eq!(said.stderr, "");
}

/// Larger than a round, with every kind of line in it.
#[test]
fn among_many_lines_the_malformed_ones_are_counted_and_nothing_else_is_lost() {
    const LINES: usize = 40_000;
    let (mut content, mut malformed, mut events, mut payload) = (String::new(), Vec::new(), 0, 0);
    for number in 1..=LINES {
        match number % 100 {
            17 => malformed.push((number, "not JSON".to_owned())),
            // Judged by the log, and later than the one before.
            18 => malformed.push((number, good(number).replace("s-", "s\\u0007"))),
            50 => content.push_str("  \r"),
            _ => {
                events += 1;
                payload += format!(r#"{{"n": {number}}}"#).len() as u64;
                content.push_str(&good(number));
            }
        }
        if let Some((_, line)) = malformed.last().filter(|(last, _)| *last == number) {
            content.push_str(line);
        }
        content.push('\n');
    }
    let said = run_piped(&["-", "--threads", "4"], content.as_bytes());
    said.replayed(events, malformed.len() as u64);
    assert_eq!((said.row("streams"), said.row("payload")), (13, payload));
    let told: Vec<_> = said.stderr.lines().collect();
    assert_eq!(told.len(), 11, "{}", said.stderr);
    for (told, (number, _)) in told[..10].iter().zip(&malformed) {
        assert!(told.starts_with(&format!("line {number}: ")), "{told}");
    }
    assert_eq!(told[10], format!("{} more malformed lines", malformed.len() - 10));
}

#[test]
fn truncated_gzip_says_how_far_it_got() {
    let mut content = String::new();
    for number in 0..5_000 {
        // What compresses badly, so that the cut is among the lines.
        let noise = number * 2_654_435_761_usize % 1_000_003;
        writeln!(content, "{}", good(number).replace("Counted", &format!("Counted{noise}")))
            .expect("a String takes all");
    }
    let whole = gzip(content.as_bytes());
    let said = run_on(&file("truncated.ndjson.gz", &whole[..whole.len() / 2]));
    said.stopped(1, &["truncated.ndjson.gz", "(gzip)", "after line ", "events appended"]);
    let number = |before: &str| -> usize {
        let tail = said.stderr.split_once(before).expect("it was just found").1;
        tail.split(' ').next().and_then(|digits| digits.parse().ok()).expect("a number follows")
    };
    let (line, events) = (number("after line "), number("; "));
    assert!((1_000..4_500).contains(&line), "{}", said.stderr);
    assert_eq!(line, events);
    // All lines are there, and the end of the file is not.
    let said = run_on(&file("without_trailer.ndjson.gz", &whole[..whole.len() - 4]));
    said.stopped(1, &["after line 5000 ", "; 5000 events appended"]);
}

#[test]
fn damaged_gzip_is_unreadable() {
    let mut damaged = gzip(SAMPLE);
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    run_on(&file("damaged.ndjson.gz", &damaged)).stopped(1, &["after line 300 ", "; 300 events appended"]);
    run_on(&file("head_only.ndjson.gz", &damaged[..2])).stopped(1, &["after line 0 "]);
}

#[test]
fn malformed_lines_are_told_of_even_when_the_input_breaks() {
    let mut damaged = gzip(format!("{}\nwrong\n", good(0)).as_bytes());
    damaged.truncate(damaged.len() - 1);
    let said = run_on(&file("malformed_and_truncated.ndjson.gz", &damaged));
    said.stopped(1, &["line 2: not a JSON object\n", "after line 2 ", "; 1 events appended"]);
}

#[test]
fn input_that_is_not_there_is_unreadable() {
    let missing = Path::new(env!("CARGO_TARGET_TMPDIR")).join("missing.ndjson");
    run_on(&missing).stopped(1, &["missing.ndjson: "]);
    run_on(Path::new(env!("CARGO_TARGET_TMPDIR"))).stopped(1, &["replay: "]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_written_is_no_success() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let said = Said::of(program().stdout(full).output().expect("the program starts"));
    said.stopped(1, &["standard output: "]);
}

#[test]
fn a_wrong_call_is_told_how_to_call() {
    for (args, wrong) in [
        (&["--fast"][..], r#"there is no option "--fast""#),
        (&["a", "b"], "more than one file"),
        (&["-", "b"], "more than one file"),
        (&["--threads"], "--threads takes a number from 1 to 64"),
        (&["--threads", "0"], "--threads takes a number from 1 to 64"),
        (&["--threads", "many"], "--threads takes a number from 1 to 64"),
    ] {
        run(args).stopped(2, &[wrong, "usage: "]);
    }
    run(&["--", "--fast"]).stopped(1, &["--fast: "]);
    let said = run(&["--help"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert!(said.stdout.contains("usage: "));
}

mod checks {
    //! A check that cannot fail says nothing.

    use annals::{Log, Message};

    use super::check;
    use super::event::Event;
    use super::ledger::Ledger;

    const LINES: [&str; 4] = [
        r#"{"stream":"a","type":"T","ts":"2024-01-01T00:00:00Z","tags":["x","y"],"data":"one"}"#,
        r#"{"stream":"a","type":"T","ts":null,"tags":[],"data":"two"}"#,
        r#"{"stream":"b","type":"T","ts":null,"tags":[],"data":"three"}"#,
        r#"{"stream":"a","type":"T","ts":null,"tags":[],"data":"four"}"#,
    ];

    fn event(line: &str) -> Event {
        Event::parse(1, line.as_bytes()).expect("it is well formed")
    }

    /// The laws that are found broken when `given` is in the ledger and `LINES` are in the log.
    fn broken(given: &[&str]) -> Vec<&'static str> {
        let log = Log::new();
        for event in LINES.map(event) {
            log.append(&event.stream, event.message().expect("it is valid")).expect("it is small");
        }
        broken_in(&log, given)
    }

    fn broken_in(log: &Log, given: &[&str]) -> Vec<&'static str> {
        let mut ledger = Ledger::default();
        for event in given.iter().map(|line| event(line)) {
            ledger.streams.entry(event.stream.as_str().into()).or_default().give(&event);
        }
        let checks = check::all(&log.view(), &ledger);
        checks.into_iter().filter(|check| check.fault.is_some()).map(|check| check.law).collect()
    }

    #[test]
    fn hold_when_all_is_well() {
        assert!(broken(&LINES).is_empty());
        let in_another_order = [LINES[2], LINES[0], LINES[1], LINES[3]];
        assert!(broken(&in_another_order).is_empty(), "order is kept within a stream");
    }

    #[test]
    fn see_what_is_missing_and_what_is_too_much() {
        let all = ["L1", "L2", "L3 log", "L3 each"];
        let one_more: Vec<_> = LINES.iter().copied().chain([LINES[3]]).collect();
        assert_eq!(broken(&one_more), all);
        assert_eq!(broken(&LINES[..3]), all);
        assert_eq!(broken(&[LINES[0], LINES[1], LINES[3]]), ["L1", "L3 log"], "stream b is not known of");
    }

    #[test]
    fn see_what_is_in_the_wrong_order() {
        let content = ["L3 log", "L3 each"];
        assert_eq!(broken(&[LINES[1], LINES[0], LINES[2], LINES[3]]), content);
    }

    #[test]
    fn see_every_part_that_is_changed() {
        let content = ["L3 log", "L3 each"];
        for (part, other) in [
            ("\"one\"", "\"eno\""),
            ("\"one\"", " \"one\" "),
            ("\"type\":\"T\"", "\"type\":\"U\""),
            ("00:00:00Z", "00:00:00.000000001Z"),
            ("\"2024-01-01T00:00:00Z\"", "null"),
            ("\"x\",\"y\"", "\"y\",\"x\""),
            ("\"x\",\"y\"", "\"xy\""),
            ("\"x\",\"y\"", "\"x\""),
        ] {
            let first = LINES[0].replace(part, other);
            let found = broken(&[&first, LINES[1], LINES[2], LINES[3]]);
            // White space around a payload is not part of it.
            let expected = if other.starts_with(' ') { &[][..] } else { &content[..] };
            assert_eq!(found, expected, "{first}");
        }
    }

    #[test]
    fn see_a_command_where_an_event_is_due() {
        let log = Log::new();
        log.append("a", Message::command("T", "1").expect("it is valid")).expect("it is small");
        let line = r#"{"stream":"a","type":"T","ts":null,"tags":[],"data":1}"#;
        assert_eq!(broken_in(&log, &[line]), ["L3 log", "L3 each"]);
    }

    #[test]
    fn see_what_was_removed() {
        let log = Log::new();
        for event in LINES.map(event) {
            log.append(&event.stream, event.message().expect("it is valid")).expect("it is small");
        }
        log.truncate_before(2);
        assert_eq!(broken_in(&log, &LINES), ["L1", "L2", "L3 log", "L3 each"]);
    }
}
