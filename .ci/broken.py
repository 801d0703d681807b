#!/usr/bin/env python3
"""Breaks annals on purpose, one thing at a time, and shows that a check notices: ThreadSanitizer, recorded histories,
shuttle.

The broken texts are those of loom-tests/mutate.py, and a few of orderings that no loom model needs. Each replaces one
piece of source text, which must be there exactly once, in a copy of the project; then the check is run and must fail.
Usage: broken.py [CHECK or NAME ...]; without any, all of them. Exit status 1 when something goes unnoticed.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "loom-tests"))
from mutate import MUTATIONS  # noqa: E402

# name: file, text, replacement
BROKEN = {name: (file, text, replacement) for name, file, text, replacement, *_ in MUTATIONS}
BROKEN |= {
    "a chunk is let go without release": ("log/arena.rs",
        ".alive.fetch_sub(count, Ordering::Release)",
        ".alive.fetch_sub(count, Ordering::Relaxed)"),
    "a segment is let go without release": ("log/segment.rs",
        "self.holders.fetch_sub(1, Ordering::Release) != 1",
        "self.holders.fetch_sub(1, Ordering::Relaxed) != 1"),
    "the last holder acquires nothing": ("sync/mod.rs",
        "count.load(Ordering::Acquire);",
        "count.load(Ordering::Relaxed);"),
    "an appender returns to the pool without release": ("log/pool.rs",
        "self.place.store(self.value.as_ptr(), Ordering::Release);",
        "self.place.store(self.value.as_ptr(), Ordering::Relaxed);"),
    "block published without release": ("log/index.rs",
        "match self.next.compare_exchange(ptr::null_mut(), made, Ordering::Release, Ordering::Acquire) {",
        "match self.next.compare_exchange(ptr::null_mut(), made, Ordering::Relaxed, Ordering::Acquire) {"),
    "first block published without release": ("log/index.rs",
        "match self.head.compare_exchange(ptr::null_mut(), made, Ordering::Release, Ordering::Acquire) {",
        "match self.head.compare_exchange(ptr::null_mut(), made, Ordering::Relaxed, Ordering::Acquire) {"),
    "probe acquires nothing": ("sync/mod.rs",
        "return cell.load(Ordering::Acquire);",
        "return cell.load(Ordering::Relaxed);"),
    "tail moved without release": ("log/append.rs",
        "self.tail.compare_exchange(here, next, Ordering::Release, Ordering::Relaxed)",
        "self.tail.compare_exchange(here, next, Ordering::Relaxed, Ordering::Relaxed)"),
    "a late refetch moves a replica backwards": ("replica/reconciler.rs",
        "if self.sequence.is_some_and(|current| found.sequence < current) {",
        "if false {"),
    "who watches a replica is not woken": ("replica/shared.rs",
        "            wake(&self.watchers);\n",
        ""),
    "who refetches for a replica is not woken": ("replica/shared.rs",
        "            wake(&self.refetcher);\n",
        ""),
    "who watches a replica registers and does not look": ("replica/shared.rs",
        "    match ready() {\n        Some(it) => Poll::Ready(it),\n        None => Poll::Pending,\n    }",
        "    Poll::Pending"),
    "writes hear of no operations": ("replica/shared.rs",
        "        self.echo(input);\n",
        ""),
    "who asks during a publish is not answered": ("replica/presence.rs",
        "Room { answered: room.asked, ..now.clone() }",
        "Room { answered: now.asked, ..now.clone() }"),
    "who finds that somebody begins leaves": ("sourcing/first_use.rs",
        "begun.is_ok().then(|| Beginner(self))",
        "begun.is_ok().then_some(Beginner(self))"),
    "a handler goes on without a word": ("sourcing/progress.rs",
        "self.position.store(position.get(), Ordering::Release);\n        self.waiters.wake_all();",
        "self.position.store(position.get(), Ordering::Release);"),
    "what failed is parked after it was passed": ("sourcing/worker.rs",
        "            Went::Badly(parked) => {\n",
        "            Went::Badly(parked) => {\n                self.progress.pass(envelope.position());\n"),
    "a service that is closed wakes no handler": ("sourcing/progress.rs",
        "self.closing.store(1, Ordering::Relaxed);\n        self.worker.wake_all();",
        "self.closing.store(1, Ordering::Relaxed);"),
    "a handler that ends tells nobody": ("sourcing/progress.rs",
        "self.ended.change(|there| there.is_none().then(|| Some(reason.into())));\n        self.waiters.wake_all();",
        "self.ended.change(|there| there.is_none().then(|| Some(reason.into())));"),
}

# check: what it is, command, what it says when it notices, environment, what it must notice.
CHECKS = {
    "tsan": (
        "ThreadSanitizer", [".ci/tsan"], "WARNING: ThreadSanitizer", {"ANNALS_STRESS_SECONDS": "3"},
        [
            "swap publishes nothing",
            "reader acquires nothing",
            "probe acquires nothing",
            "segment published without release",
            "tail moved without release",
            "block published without release",
            "first block published without release",
            "stream published without release",
            "a holder leaves without release",
            "a chunk is let go without release",
            "a segment is let go without release",
            "the last holder acquires nothing",
            "an appender returns to the pool without release",
            "envelope is no holder",
            "a cursor holds nothing",
        ],
    ),
    "histories": (
        "`histories_are_linearizable`",
        ["cargo", "test", "--release", "--test", "it", "linearizable::"], "history of seed",
        {"RUSTFLAGS": "--cfg annals_yield", "ANNALS_HISTORIES": "5000"},
        [
            "expectation decided before the slot",
            "refused without a second look",
            "condition checked once",
            "half a batch is visible",
        ],
    ),
    "shuttle": (
        "shuttle",
        ["cargo", "test", "--release", "--manifest-path", "loom-tests/shuttle/Cargo.toml"], "failing schedule",
        {"RUSTFLAGS": "--cfg annals_shuttle"},
        [
            "expectation decided before the slot",
            "refused without a second look",
            "condition checked once",
            "nobody helps",
            "help forgets the index",
            "help forgets the rest of a batch",
            "half a batch is visible",
            "the hint of an index is believed",
            "the lost insert stays",
            "empty cells are not sealed",
            "the hint runs ahead",
            "nobody waits for who has the claim",
            "the claim is given back without a word",
            "who waits looks, then registers",
            "the set is replaced by what was read before",
            "the past is left to those who append",
            "closing wakes nobody",
            "a late refetch moves a replica backwards",
            "who watches a replica is not woken",
            "who refetches for a replica is not woken",
            "who watches a replica registers and does not look",
            "writes hear of no operations",
            "who asks during a publish is not answered",
            "who finds that somebody begins leaves",
            "a handler goes on without a word",
            "what failed is parked after it was passed",
            "a service that is closed wakes no handler",
            "a handler that ends tells nobody",
        ],
    ),
}


def copy_to(tree):
    """What is needed to build and run the checks: all of the project but what was built or found."""
    skipped = shutil.ignore_patterns("target", ".git", "artifacts", "benches")
    shutil.copytree(ROOT, tree, ignore=skipped)


def run(tree, target, command, sign, environment):
    """Whether it was built, and whether the check noticed."""
    env = dict(os.environ, CARGO_TARGET_DIR=str(target), **environment)
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=900)
    output = done.stdout + done.stderr
    built = "could not compile" not in output
    return built, done.returncode != 0 and sign in output, output


def broken(tree, check, name):
    """Breaks one thing, runs the check, prints a row. Whether it was noticed."""
    title, command, sign, environment, _ = CHECKS[check]
    file, text, replacement = BROKEN.get(name, ("", "", ""))
    source = (tree / "src" / file).read_text() if file else ""
    if not file or source.count(text) != 1:
        print(f"| {name} | its text is there {source.count(text) if file else 0} times | |", flush=True)
        return False
    (tree / "src" / file).write_text(source.replace(text, replacement))
    started = time.monotonic()
    built, noticed, output = run(tree, ROOT / "target" / "broken", command, sign, environment)
    (tree / "src" / file).write_text(source)
    noticed = built and noticed
    verdict = title if noticed else ("NOBODY" if built else "does not compile")
    print(f"| {name} | {verdict} | {time.monotonic() - started:.0f} |", flush=True)
    if not noticed:
        print(output[-2000:])
    return noticed


def main():
    wanted = set(sys.argv[1:])
    rows = [(check, name) for check, (*_, names) in CHECKS.items() for name in names]
    rows = [row for row in rows if not wanted or wanted.intersection(row)]
    with tempfile.TemporaryDirectory() as temporary:
        tree = pathlib.Path(temporary) / "annals"
        copy_to(tree)
        print("| broken | noticed by | s |\n| --- | --- | --- |", flush=True)
        noticed = [broken(tree, check, name) for check, name in rows]
    sys.exit(not rows or not all(noticed))


if __name__ == "__main__":
    main()
