//! The house: which floor may import from which, where `unsafe` and threads are allowed, how long a file and how heavy
//! the crate may be. Reads the source tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The floors, from below. A module imports from its own floor and from those before it.
const FLOORS: [&str; 8] = ["sync", "model", "log", "delivery", "durable", "store", "sourcing", "replica"];
const LONGEST_FILE: usize = 600;
/// Crates that a user without features compiles besides this one.
const HEAVIEST: usize = 19;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a directory, but for what is built or found.
fn files(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).expect("a directory").map(|entry| entry.expect("an entry")) {
        let name = entry.file_name();
        if ["target", ".git", "artifacts", "corpus", "coverage"].iter().any(|skipped| name == *skipped) {
            continue;
        }
        if entry.path().is_dir() { files(&entry.path(), found) } else { found.push(entry.path()) }
    }
}

/// A source file: its place in `src`, and its code without comments and texts.
struct Source {
    place: String,
    floor: Option<usize>,
    text: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut found = Vec::new();
    files(&src, &mut found);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let sources: Vec<_> = found
        .iter()
        .map(|path| {
            let place = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
            let module = place.split(['/', '.']).next().unwrap();
            let floor = FLOORS.iter().position(|floor| *floor == module);
            let text = fs::read_to_string(path).expect("source is text");
            Source { code: code_of(&text), floor, place, text }
        })
        .collect();
    assert!(sources.len() > 20, "the source tree is there");
    sources
}

/// Leaves out comments, and the content of texts.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '/' if rest.peek() == Some(&'/') => {
                rest.by_ref().find(|it| *it == '\n');
                code.push('\n');
            }
            // A quote in quotes is a character, not the beginning of a text.
            '"' if !code.ends_with('\'') => {
                while let Some(inner) = rest.next() {
                    match inner {
                        '\\' => drop(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
                code.push_str("\"\"");
            }
            // A brace in quotes begins and ends nothing.
            '{' | '}' if code.ends_with('\'') && rest.peek() == Some(&'\'') => {}
            _ => code.push(next),
        }
    }
    code
}

/// The words and paths of some code, `use` trees spelled out: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(code: &str) -> Vec<String> {
    let (mut found, mut prefixes, mut path) = (Vec::new(), vec![String::new()], String::new());
    for next in code.chars().chain(['\n']) {
        match next {
            '{' if path.ends_with("::") => prefixes.push(std::mem::take(&mut path)),
            _ if next.is_alphanumeric() || next == '_' || next == ':' => {
                if path.is_empty() {
                    path.clone_from(prefixes.last().unwrap());
                }
                path.push(next);
            }
            _ => {
                if !path.is_empty() {
                    found.push(std::mem::take(&mut path));
                }
                match next {
                    '{' => prefixes.push(String::new()),
                    '}' => drop(prefixes.pop()),
                    _ => {}
                }
            }
        }
    }
    found
}

#[test]
fn paths_are_spelled_out() {
    let code = code_of("use a::{b, c::{d, e::f}}; // g::h\nx(\"i::j\", '\"', '}', b'}', '{', k::l); fn m() { n::o }");
    let long: Vec<_> = paths(&code).into_iter().filter(|path| path.contains("::")).collect();
    assert_eq!(long, ["a::b", "a::c::d", "a::c::e::f", "k::l", "n::o"]);
}

/// The first segment after `crate::`, or after more than one `super::`: what may be a floor.
fn reaches(path: &str) -> Option<&str> {
    let below = path.strip_prefix("crate::").or_else(|| {
        let rest = path.strip_prefix("super::")?.strip_prefix("super::")?.trim_start_matches("super::");
        FLOORS.contains(&rest.split("::").next()?).then_some(rest)
    });
    below?.split("::").next()
}

#[test]
fn no_module_imports_from_a_floor_above_its_own() {
    for source in sources() {
        let Some(floor) = source.floor else {
            assert_eq!(source.place, "lib.rs", "every module has its floor");
            continue;
        };
        for path in paths(&source.code) {
            let Some(module) = reaches(&path) else { continue };
            let below = FLOORS[..=floor].contains(&module);
            assert!(below, "{}: `{path}` is not on a floor below {}", source.place, FLOORS[floor]);
        }
    }
}

#[test]
fn unsafe_code_is_only_in_the_log() {
    let mut seen = false;
    for source in sources() {
        let has = paths(&source.code).iter().any(|word| word == "unsafe");
        assert!(!has || source.place.starts_with("log/"), "{} has unsafe code", source.place);
        seen |= has;
    }
    assert!(seen, "the search finds what there is");
}

#[test]
fn threads_and_atomics_come_from_floor_zero() {
    for source in sources().iter().filter(|source| !source.place.starts_with("sync/")) {
        for path in paths(&source.code) {
            let path = path.trim_start_matches("::");
            let allowed = match source.place.as_str() {
                "log/reclaim.rs" => ["std::sync::Arc", "std::sync::Mutex"].contains(&path),
                place => place.starts_with("log/") && path == "std::sync::Arc",
            };
            let begins = ["std::sync", "core::sync", "std::thread", "loom::", "shuttle::", "thread_local"];
            let own = begins.iter().any(|begin| path.starts_with(begin)) && !allowed;
            assert!(!own, "{}: `{path}` belongs in src/sync", source.place);
        }
    }
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines", source.place);
    }
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    let mut found = Vec::new();
    files(&root(), &mut found);
    for path in found {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for place in ["work", "home", "root", "tmp"].map(|directory| format!("/{directory}")) {
            for (at, _) in text.match_indices(&place) {
                let inside =
                    |next: Option<char>| next.is_some_and(|next| next.is_alphanumeric() || "_-.".contains(next));
                let (before, after) = (text[..at].chars().next_back(), text[at + place.len()..].chars().next());
                assert!(inside(before) || inside(after), "{} has {place}", path.display());
            }
        }
    }
}

/// The bare crate stays light: what a user compiles without features.
#[test]
fn the_crate_has_few_dependencies() {
    let tree = |offline: &[&str]| {
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["tree", "-e", "normal", "--no-default-features", "--prefix", "none", "--format", "{p}"])
            .args(offline)
            .current_dir(root())
            .output()
            .expect("cargo runs")
    };
    let mut output = tree(&["--offline"]);
    if !output.status.success() {
        output = tree(&[]);
    }
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo tree prints text");
    let crates: BTreeSet<_> =
        text.lines().filter_map(|line| line.split(' ').next()).filter(|name| !["", "annals"].contains(name)).collect();
    assert!(crates.contains("bytes"), "the tree is there: {crates:?}");
    assert!(crates.len() <= HEAVIEST, "{} crates: {crates:?}", crates.len());
}
