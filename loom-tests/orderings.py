#!/usr/bin/env python3
"""Weakens annals' memory orderings one at a time, and shows which model notices.

Loom takes orderings as values. So every `Ordering::Acquire`, `Release` and `AcqRel`, every `fence` and every call of
`probe` (an Acquire load) in a copy of `src` is wrapped into a call that has a number, and one build serves all: the
environment says which number is weakened, and to what.

The model that `orderings.md` names is run first, and mostly fails. If it does not, all models are measured: run with
nothing weakened, for 5 s at most, while the wrappers write down which orderings they come by. Then those that come by
the weakened one are run: first those of the test files in `NEAR`, the quickest first, until one fails; then the same in
the second run of the README, with loads as read-modify-writes. A run that has not ended after a while (`TRY`) is
stopped, and has noticed nothing; neither has one that only ran out of loom's branches. A model that was stopped while
it was measured is known by the orderings it had come by until then. Measurements are kept in the target directory, by
the hash of the program.

    Acquire -> Relaxed    Release -> Relaxed    AcqRel -> Release, and -> Acquire
    fence(Acquire) -> nothing    fence(SeqCst) -> fence(AcqRel)

AcqRel -> Relaxed, and a fence of SeqCst -> nothing, are not tried: they allow all that these allow. Every ordering of a
compare-and-swap counts. Accesses of SeqCst are not weakened: loom takes them for weaker already.

Usage: orderings.py [--only REGEX] [--write] [--list]. `--write` puts the rows into `orderings.md`; those not run keep
what they say there. Exit status 1 when a weakening survives that is not in `ACCEPTED`.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "loom-tests" / "orderings.md"
MODES = {"plain": "--cfg loom", "rmw": "--cfg loom --cfg annals_rmw_loads"}

# Weakenings that no model can notice: file, function, access, weakening, and why it stays as it is.
STAND_IN = "a load may get a set that has just been replaced; from the stand-in for arc-swap it never does"
FENCED = "in models an appender has a fence after its swap (`look_up`), which says as much; in production it has none"
ACCEPTED = [
    ("sync/mod.rs", "acquire", "count.load()", "Relaxed",
     "for ThreadSanitizer only, which does not know fences; `.ci/broken.py tsan` weakens it"),
    ("delivery/bus.rs", "closings", "self.closings.load()", "Relaxed", STAND_IN),
    ("delivery/bus.rs", "closed", "self.closings.fetch_add(1)", "Relaxed", STAND_IN),
    ("log/watch.rs", "add", "self.0.fetch_add(what)", "Relaxed", FENCED),
    ("log/watch.rs", "settle_watched", "self.interest.0.fetch_add(0)", "Relaxed", FENCED),
    ("delivery/waiting.rs", "turn", "self.turn.load()", "Relaxed", FENCED),
    ("delivery/member.rs", "start", "observer.start.load()", "Relaxed",
     "loom skips a load that comes after the load and the swap of another (tokio-rs/loom#166); the loser's is noticed"),
    ("delivery/member.rs", "start", "observer.start.compare_exchange(PENDING, end) success", "Relaxed",
     "the fence in `settle` publishes all but what a third thread appends after it: more threads than a model can have"),
    ("delivery/sequential.rs", "start", "self.next.compare_exchange(PENDING, index) success", "Relaxed",
     "loom runs the fence in `wake_all` together with the swap before it, and it says as much"),
    ("delivery/waiting.rs", "register", "waiter.turn.store(waiter.turn() + 1)", "Relaxed",
     "loom puts the read-modify-writes of a cell in the order in which it runs them; machines need not"),
    ("delivery/sequential.rs", "skip", "self.next.store(self.next() + 1)", "Relaxed",
     "loom's fence in `wake_all`, which follows, says as much to whoever waits; a machine's need not"),
    ("delivery/sequential.rs", "deliver", "self.next.store(position.get() - 1)", "Relaxed",
     "for who waits for a position between two envelopes of a stream: more steps than a model can have"),
]

# Code that is not weakened: file, function or the whole of it, and why.
LEFT_OUT = [
    ("sync/mod.rs", "probe", "weakened at each of its calls instead"),
    ("sync/cow.rs", None, "arc-swap's part: its orderings are those of the stand-in that models have"),
    ("log/reclaim.rs", None, "crossbeam-epoch's part: its orderings are those of the stand-in that models have"),
]

# Whose models are tried first: what a file's path begins with, and the test files.
NEAR = [
    ("delivery/bus", ["bus"]),
    ("delivery/", ["handlers", "delivery", "follow"]),
    ("log/directory", ["directory"]),
    ("log/index", ["index"]),
    ("log/retain", ["retain"]),
    ("log/settle", ["delivery", "follow"]),
    ("log/tail", ["follow"]),
    ("log/watch", ["delivery", "follow"]),
]

# Seconds. A weakened model has more executions than the model: it gets so much, and as much again as the model takes.
MEASURE, TRY, TRY_KNOWN = 5, 20, 120

WEAKER = {
    "Acquire": ["Relaxed"],
    "Release": ["Relaxed"],
    "AcqRel": ["Release", "Acquire"],
    "fence(Acquire)": ["nothing"],
    "fence(SeqCst)": ["AcqRel"],
    "probe": ["Relaxed"],
}

# Appended to `src/sync/mod.rs` of the copy.
WRAPPERS = """
#[allow(dead_code)]
pub(crate) mod weaken {
    use std::io::Write;
    use std::sync::{LazyLock, Mutex};

    use super::{AtomicPtr, Ordering};

    static PLAN: LazyLock<Option<(usize, String)>> = LazyLock::new(|| {
        let plan = std::env::var("ANNALS_WEAKEN").ok()?;
        let (site, to) = plan.split_once(' ')?;
        Some((site.parse().ok()?, to.to_owned()))
    });

    /// Sites that were come by; each is told once.
    static MET: LazyLock<Option<(String, Mutex<Vec<bool>>)>> =
        LazyLock::new(|| Some((std::env::var("ANNALS_SITES").ok()?, Mutex::new(vec![false; 1024]))));

    fn plan(site: usize) -> Option<&'static str> {
        if let Some((path, met)) = &*MET {
            let mut met = met.lock().unwrap();
            if !std::mem::replace(&mut met[site], true) {
                let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
                writeln!(file, "{site}").unwrap();
            }
        }
        PLAN.as_ref().filter(|(planned, _)| *planned == site).map(|(_, to)| to.as_str())
    }

    pub(crate) fn ordering(site: usize, written: Ordering) -> Ordering {
        match plan(site) {
            None => written,
            Some("Relaxed") => Ordering::Relaxed,
            Some("Acquire") => Ordering::Acquire,
            Some("Release") => Ordering::Release,
            Some(other) => panic!("no ordering {other}"),
        }
    }

    pub(crate) fn fence(site: usize, written: Ordering) {
        match plan(site) {
            None => super::fence(written),
            Some("AcqRel") => super::fence(Ordering::AcqRel),
            Some(_) => {}
        }
    }

    pub(crate) fn probe<T>(site: usize, cell: &AtomicPtr<T>) -> *mut T {
        if plan(site).is_none() {
            return super::probe(cell);
        }
        if cfg!(annals_rmw_loads) {
            let null = std::ptr::null_mut();
            return cell.compare_exchange(null, null, Ordering::Relaxed, Ordering::Relaxed).unwrap_or_else(|seen| seen);
        }
        cell.load(Ordering::Relaxed)
    }
}
"""


class Site:
    def __init__(self, number, file, function, access, kind):
        self.number, self.file, self.function, self.access, self.kind = number, file, function, access, kind


def blank_comments(source):
    """The same length, with comments and the tests at the end of a file blanked."""
    tests = re.search(r"^#\[cfg\(test\)\]\nmod \w+ \{", source, re.M)
    if tests:
        source = source[:tests.start()] + " " * (len(source) - tests.start())
    return re.sub(r"//[^\n]*", lambda comment: " " * len(comment.group()), source)


def closing(code, opening):
    """Where the parenthesis that opens at `opening` closes."""
    depth = 0
    for at in range(opening, len(code)):
        depth += {"(": 1, ")": -1}.get(code[at], 0)
        if depth == 0:
            return at
    raise ValueError("unbalanced parentheses")


def call_around(code, begin, at):
    """The innermost call around `at` in the function that begins at `begin`: where its arguments begin, what is called."""
    opening, depth = at, 0
    while depth >= 0:
        opening -= 1
        if opening < begin:
            return None
        depth += {")": 1, "(": -1}.get(code[opening], 0)
    begin, depth = opening, 0
    while begin and (depth or re.match(r"[\w.:&*()\[\]]", code[begin - 1])):
        begin -= 1
        depth += {")": 1, "]": 1, "(": -1, "[": -1}.get(code[begin], 0)
        if depth < 0:
            begin += 1
            break
    return opening, code[begin:opening].lstrip("&*")


def split_arguments(code, opening):
    """The arguments of a call, as spans."""
    spans, depth, begin, end = [], 0, opening + 1, closing(code, opening)
    for at in range(opening + 1, end + 1):
        if at == end or code[at] == "," and depth == 0:
            spans.append((begin, at))
            begin = at + 1
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(code[at], 0)
    return spans


def access_at(code, begin, at):
    """What an ordering at `at` is of."""
    call = call_around(code, begin, at)
    if not call:
        return "-> Ordering"
    opening, called = call
    spans = split_arguments(code, opening)
    own = next(number for number, (start, end) in enumerate(spans) if start <= at < end)
    if "compare_exchange" in called:
        of = {2: " success", 3: " failure"}[own]
        shown = spans[:2]
    else:
        of, shown = "", [span for number, span in enumerate(spans) if number != own]
    arguments = ", ".join(code[start:end].strip() for start, end in shown)
    return f"{called}({arguments}){of}"


def function_around(code, at):
    """Its name, and where it begins: at the opening brace."""
    functions = list(re.finditer(r"\bfn (\w+)", code[:at]))
    return (functions[-1].group(1), code.index("{", functions[-1].end())) if functions else ("?", 0)


def find(file, source, number):
    """The sites of a file, each with the span to replace and its replacement."""
    code = blank_comments(source)
    found = []
    left_out = {function for its, function, _ in LEFT_OUT if its == file}
    for match in re.finditer(r"(?:crate::sync::)?\bfence\((Ordering::\w+)\)", code):
        kind = f"fence({match.group(1).removeprefix('Ordering::')})"
        found.append((match.span(), kind, kind, "crate::sync::weaken::fence({}, " + match.group(1) + ")"))
    for match in re.finditer(r"(?<!fn )(?<!\w)probe\(", code):
        end = closing(code, match.end() - 1)
        argument = source[match.end():end]
        span = (match.start(), end + 1)
        found.append((span, "probe", f"probe({argument})", "crate::sync::weaken::probe({}, " + argument + ")"))
    fences = [span for span, kind, _, _ in found if kind.startswith("fence")]
    for match in re.finditer(r"Ordering::(Acquire|Release|AcqRel)\b", code):
        if any(start <= match.start() < end for start, end in fences):
            continue
        access = access_at(code, function_around(code, match.start())[1], match.start())
        replacement = "crate::sync::weaken::ordering({}, " + match.group() + ")"
        found.append((match.span(), match.group(1), access, replacement))
    sites = []
    for span, kind, access, replacement in sorted(found):
        function, _ = function_around(code, span[0])
        if function in left_out or None in left_out:
            continue
        site = Site(number + len(sites), file, function, " ".join(access.split()), kind)
        sites.append((span, site, replacement.format(site.number)))
    return sites


def instrument(tree):
    """Copies the project to `tree`, every ordering wrapped. Returns the sites."""
    if tree.exists():
        shutil.rmtree(tree)
    for part in ["src", "derive", "loom-tests"]:
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("target"))
    shutil.copy(ROOT / "Cargo.toml", tree)
    all_sites = []
    for path in sorted((tree / "src").rglob("*.rs")):
        file = str(path.relative_to(tree / "src"))
        source = path.read_text()
        if path.name == "tests.rs" or "Ordering::" not in source and "probe(" not in source:
            continue
        sites = find(file, source, len(all_sites))
        for (start, end), site, replacement in reversed(sites):
            source = source[:start] + replacement + source[end:]
        if file == "sync/mod.rs":
            source += WRAPPERS
        path.write_text(source)
        all_sites += [site for _, site, _ in sites]
    return all_sites


def build(tree, target, mode):
    """The test programs."""
    env = dict(os.environ, RUSTFLAGS=MODES[mode], CARGO_TARGET_DIR=str(target / mode))
    command = ["cargo", "test", "--release", "--no-run", "--message-format=json"]
    done = subprocess.run(command, cwd=tree / "loom-tests", env=env, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [m["executable"] for m in messages if m.get("executable") and "test" in m["target"]["kind"]]


class Model:
    def __init__(self, mode, program, test, name):
        self.mode, self.program, self.test, self.name = mode, program, test, name
        self.seconds, self.sites = 0.0, set()

    def run(self, timeout, **variables):
        """Whether it failed; none when it was stopped, or gave up."""
        command = [self.program, "--exact", self.name]
        env = dict(os.environ, **variables)
        try:
            done = subprocess.run(command, env=env, capture_output=True, text=True, errors="replace", timeout=timeout)
        except subprocess.TimeoutExpired:
            return None
        if "exceeded maximum number of branches" in done.stdout + done.stderr:
            return None
        return done.returncode != 0

    def measure(self, scratch):
        scratch.unlink(missing_ok=True)
        started = time.monotonic()
        if self.run(MEASURE, ANNALS_SITES=str(scratch)):
            sys.exit(f"{self.name} fails with nothing weakened ({self.mode})")
        self.seconds = time.monotonic() - started
        self.sites = {int(line) for line in scratch.read_text().split()} if scratch.exists() else set()


def models_of(mode, programs):
    listed = [(p, subprocess.run([p, "--list"], capture_output=True, text=True, check=True).stdout) for p in programs]
    return [
        Model(mode, program, pathlib.Path(program).name.rsplit("-", 1)[0], name)
        for program, out in listed for name in re.findall(r"^(\S+): test$", out, re.M)
    ]


class Mode:
    """The models in one way to build them: built, and measured, when they are first asked for."""

    def __init__(self, name, tree, target):
        self.name, self.tree, self.target = name, tree, target
        self.built, self.measured = None, False

    def models(self):
        self.built = self.built or models_of(self.name, build(self.tree, self.target, self.name))
        return self.built

    def measure(self):
        if self.measured:
            return
        self.measured = True
        kept = self.target / f"measured-{self.name}.json"
        known = json.loads(kept.read_text()) if kept.exists() else {}
        now = {}
        for model in self.models():
            key = hashlib.sha256(pathlib.Path(model.program).read_bytes()).hexdigest() + " " + model.name
            if key in known:
                model.seconds, model.sites = known[key][0], set(known[key][1])
            else:
                model.measure(self.target / "sites")
            now[key] = [model.seconds, sorted(model.sites)]
        kept.write_text(json.dumps(now))

    def that_come_by(self, site):
        """Models that come by, in the order to try them in."""
        self.measure()
        near = next((tests for begin, tests in NEAR if site.file.startswith(begin)), [])
        come_by = [model for model in self.models() if site.number in model.sites]
        return sorted(come_by, key=lambda model: (model.test not in near, model.seconds))


def weakened(model, site, weakening, seconds):
    return model.run(seconds + model.seconds, ANNALS_WEAKEN=f"{site.number} {weakening}")


def by_name(modes, verdict):
    """The model that noticed the last time."""
    said = re.fullmatch(r"`(\w+)`(, rmw)?", verdict)
    if not said:
        return None
    models = modes["rmw" if said.group(2) else "plain"].models()
    return next((model for model in models if model.name == said.group(1)), None)


def notice(modes, site, weakening, verdict):
    """The first model that fails; or none, and how many runs came by, and how many of those did not end."""
    model = by_name(modes, verdict)
    if model and weakened(model, site, weakening, TRY_KNOWN):
        return model, 0, 0
    came_by = stopped = 0
    for mode in modes.values():
        for model in mode.that_come_by(site):
            failed = weakened(model, site, weakening, TRY)
            if failed:
                return model, 0, 0
            came_by += 1
            stopped += failed is None
    return None, came_by, stopped


def accepted(site, weakening):
    for *key, reason in ACCEPTED:
        if key == [site.file, site.function, site.access, weakening]:
            return reason
    return None


def row_of(site, weakening):
    return f"{site.file} | `{site.function}` | `{site.access}` | {site.kind} → {weakening}"


HEAD = "| file | function | access | weakening | noticed by | s |\n| --- | --- | --- | --- | --- | ---: |\n"


def page():
    """What the page says before its table, and of each row."""
    text = PAGE.read_text() if PAGE.exists() else HEAD
    before, table = text.split(HEAD)
    rows = [line.strip("| ").rsplit(" | ", 2) for line in table.splitlines() if line.startswith("| ")]
    return before, {row: (verdict, seconds) for row, verdict, seconds in rows}


def verdict_of(modes, site, weakening, last):
    """Who notices, or why nobody has to; and whether that will do."""
    reason = accepted(site, weakening)
    if reason:
        return f"accepted: {reason}", True
    who, came_by, stopped = notice(modes, site, weakening, last)
    if who:
        return f"`{who.name}`" + (", rmw" if who.mode == "rmw" else ""), True
    return f"NOBODY, of {came_by} runs that come by, {stopped} of them not to their end", False


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--only", help="weaken only where this regular expression is found in the row of the table")
    arguments.add_argument("--list", action="store_true", help="only show what would be weakened")
    arguments.add_argument("--write", action="store_true", help="put the rows into orderings.md")
    arguments = arguments.parse_args()

    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "orderings"
    tree = target / "tree"
    everything = [(site, weakening) for site in instrument(tree) for weakening in WEAKER[site.kind]]
    wanted = [it for it in everything if re.search(arguments.only or "", row_of(*it))]
    for file, function, reason in LEFT_OUT:
        print("Left out: " + (f"`{function}` in {file}" if function else file) + f", {reason}.")
    if arguments.list:
        print("\n".join(row_of(*it) for it in wanted))
        return
    modes = {name: Mode(name, tree, target) for name in MODES}
    before, rows = page()
    all_will_do, started = True, time.monotonic()
    print(HEAD, end="", flush=True)
    for site, weakening in wanted:
        begun, row = time.monotonic(), row_of(site, weakening)
        verdict, will_do = verdict_of(modes, site, weakening, rows.get(row, ("", ""))[0])
        rows[row] = verdict, f"{time.monotonic() - begun:.1f}"
        all_will_do &= will_do
        print(f"| {row} | {verdict} | {rows[row][1]} |", flush=True)
    print(f"\n{len(wanted)} weakenings, {time.monotonic() - started:.0f} s with building and measuring.")
    if arguments.write:
        now = [(row_of(*it), *rows.get(row_of(*it), ("not run yet", "0"))) for it in everything]
        PAGE.write_text(before + HEAD + "".join(f"| {row} | {verdict} | {s} |\n" for row, verdict, s in now))
    sys.exit(not all_will_do)


if __name__ == "__main__":
    main()
