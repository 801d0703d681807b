#!/usr/bin/env python3
"""Mutation testing of src/log: every change that cargo-mutants proposes is made, and the tests must notice.

cargo-mutants builds once for every mutant. Here all of them are put into one build, each function's body beside its
changed copies, and ANNALS_MUTANT chooses one when a test starts: so a mutant costs the run of the tests alone. What does
not compile is taken out, and counted as cargo-mutants counts it, unviable. Constants outside of functions are built one
by one, and so are functions that are const or return what only their body names.

Usage: mutants.py [PATTERN ...]: mutants whose name contains a pattern, or all. MUTANTS_OUT names the file of results, and
what was noticed in it is not run again; MUTANTS_JOBS says how many run at once, MUTANTS_STAGES which stages, joined by
plus signs. Needs `cargo install --locked cargo-mutants`. Exit status 1 when a mutant survives that tests/mutants.md does not name.
"""

import collections
import concurrent.futures
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "mutants"
GIB = 1 << 30

# What notices, the fastest first: name, test binary, its arguments, seconds of processor time.
STAGES = [
    ("it", "it", ["bad_input::", "corpus::", "counts::", "face::", "info::", "isolation::", "once::", "retention::",
                  "source::"], 4),
    ("unit", "annals", [], 10),
    ("memory", "memory", ["long_", "logs_", "refused_", "a_stream", "an_envelope"], 20),
    ("it, threads", "it", ["stress::", "linearizable::"], 30),
    ("it, properties", "it", ["properties::"], 60),
    ("it, delivery", "it", ["bus::", "delivery", "message_store::", "sessions::"], 60),
    ("store", "store", [], 60),
    ("memory, all", "memory", [], 120),
]

ONLY = [name for name in os.environ.get("MUTANTS_STAGES", "").split("+") if name]

CHOOSER = """//! Which mutant this process is.
pub(crate) fn chosen() -> u32 {
    static CHOSEN: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| std::env::var("ANNALS_MUTANT").map_or(u32::MAX, |id| id.parse().unwrap()))
}
"""


def listed(patterns):
    """What cargo-mutants would do, as .cargo/mutants.toml says."""
    done = subprocess.run(["cargo", "mutants", "--list", "--json"], cwd=ROOT, capture_output=True, text=True, check=True)
    mutants = json.loads(done.stdout)
    for number, mutant in enumerate(mutants):
        mutant["id"] = number
    rank = lambda m: next((at for at, pattern in enumerate(patterns or [""]) if pattern in m["name"]), None)
    return sorted((m for m in mutants if rank(m) is not None), key=rank)


# What is there for models alone, or for other systems: of a function, or of a module that ends with a brace at a margin.
ELSEWHERE = r"#\[cfg\((loom|any\(loom|not\(target_os|not\(all\(target_os)"
MODULE_ELSEWHERE = re.compile(rf"^{ELSEWHERE}[^\n]*\n[^\n]*\bmod \w+ {{\n.*?^}}", re.DOTALL | re.MULTILINE)


def built(mutant):
    """Whether the code is built here."""
    text = (ROOT / mutant["file"]).read_text()
    last = mutant["span"]["start"]["line"]
    for module in MODULE_ELSEWHERE.finditer(text):
        if text.count("\n", 0, module.start()) < last <= text.count("\n", 0, module.end()):
            return False
    first = mutant["function"]["span"]["start"]["line"] if mutant["function"] else last - 1
    return not re.search(ELSEWHERE, "\n".join(text.splitlines()[first - 1:last]))


def can_choose(mutant):
    """Whether a function has it that can look which mutant the process is, and may return what it returns twice."""
    function = mutant["function"]
    if not function or "impl " in function["return_type"]:
        return False
    head = Text((ROOT / mutant["file"]).read_text())
    first, last = head.range(function["span"])
    return not re.match(r"[^{]*\bconst fn\b", head.text[first:last])


class Text:
    """A source text, with places given by line and column, both from 1."""

    def __init__(self, text):
        self.text = text
        self.lines = [0]
        for line in text.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))

    def offset(self, place):
        return self.lines[place["line"] - 1] + place["column"] - 1

    def range(self, span):
        return self.offset(span["start"]), self.offset(span["end"])


TOKEN = re.compile(r"""//[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.[^']*|[^'\\])'|[{}]""", re.DOTALL)


def body_of(text, start, end):
    """The block that ends at `end` of the function that starts at `start`."""
    depth, opened = 0, None
    for token in TOKEN.finditer(text, start, end):
        if token[0] == "{":
            opened = token.start() if depth == 0 else opened
            depth += 1
        elif token[0] == "}":
            depth -= 1
    return opened, end


def changed(text, mutant, start, end):
    """The text from `start` to `end` with the mutant's change made."""
    first, last = text.range(mutant["span"])
    return text.text[start:first] + mutant["replacement"] + text.text[last:end]


def woven(source, mutants):
    """The source with each function's body beside its changed copies."""
    text, functions = Text(source), collections.defaultdict(list)
    for mutant in mutants:
        functions[text.range(mutant["function"]["span"])].append(mutant)
    pieces, at = [], 0
    for (start, end), group in sorted(functions.items()):
        opened, closed = body_of(source, start, end)
        arms = [f"/*mutant {m['id']}*/ {m['id']} => {changed(text, m, opened, closed)}\n/*end*/\n" for m in group]
        pieces += [source[at:opened], "{ match crate::mutant::chosen() {\n", *arms, "_ => ", source[opened:closed], "}}"]
        at = closed
    return "".join(pieces) + source[at:]


def mutant_at(source, line):
    """The mutant whose copy has this line."""
    for text in reversed(source.splitlines()[:line]):
        if text.startswith("/*end*/"):
            return None
        if found := re.match(r".*/\*mutant (\d+)\*/", text):
            return int(found[1])
    return None


def cargo_test(tree, *arguments):
    """Builds the tests. Their binaries by name, and the errors."""
    env = dict(os.environ, CARGO_TARGET_DIR=str(TARGET), CARGO_PROFILE_TEST_DEBUG="0", CARGO_PROFILE_DEV_DEBUG="0")
    command = ["cargo", "test", "--no-run", "--message-format=json", "--lib", "--features", "testing",
               "--test", "it", "--test", "memory", "--test", "store", *arguments]
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True)
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    binaries = {m["target"]["name"]: m["executable"] for m in messages if m.get("executable")}
    errors = [m["message"] for m in messages if m["reason"] == "compiler-message" and m["message"]["level"] == "error"]
    return done.returncode == 0, binaries, errors


def culprits(tree, errors):
    """The mutants that do not compile."""
    found = set()
    for error in errors:
        for span in error["spans"]:
            if span["is_primary"]:
                found.add(mutant_at((tree / span["file_name"]).read_text(), span["line_start"]))
    return found - {None}


def build(tree, mutants, unviable):
    """One build with all of the mutants but those that do not compile; some of them may be known."""
    (tree / "src" / "mutant.rs").write_text(CHOOSER)
    crate = tree / "src" / "lib.rs"
    crate.write_text(crate.read_text() + "\nmod mutant;\n")
    while True:
        for file in {m["file"] for m in mutants}:
            here = [m for m in mutants if m["file"] == file and m["id"] not in unviable]
            (tree / file).write_text(woven((ROOT / file).read_text(), here))
        built, binaries, errors = cargo_test(tree)
        if built:
            return binaries, unviable
        found = culprits(tree, errors) - unviable
        print(f"{len(found)} do not compile", flush=True)
        if not found:
            sys.exit("\n".join(error["rendered"] for error in errors[:5]))
        unviable |= found


def limited(seconds):
    def limit():
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_AS, (8 * GIB, 8 * GIB))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return limit


def verdict(tree, binaries, mutant):
    """Which stage notices the mutant, and how; none when it survives."""
    env = dict(os.environ, ANNALS_STRESS_SECONDS="0.05", ANNALS_HISTORIES="100", PROPTEST_MAX_SHRINK_ITERS="0",
               RUST_BACKTRACE="0", ANNALS_MUTANT=str(mutant))
    for name, binary, arguments, seconds in STAGES:
        if ONLY and name not in ONLY:
            continue
        command = [binaries[binary], "--test-threads=2", *arguments]
        try:
            done = subprocess.run(command, cwd=tree, env=env, capture_output=True, timeout=6 * seconds,
                                  preexec_fn=limited(seconds))
        except subprocess.TimeoutExpired:
            return name, "never ends"
        if done.returncode != 0:
            how = {-24: "never ends", -9: "never ends"}.get(done.returncode, "fails")
            return name, how
    return None


def verdict_alone(tree, mutant):
    """The same for a mutant that no function can choose: with a build of its own."""
    for file in (ROOT / "src" / "log").glob("*.rs"):
        shutil.copy(file, tree / file.relative_to(ROOT))
    source = (ROOT / mutant["file"]).read_text()
    (tree / mutant["file"]).write_text(changed(Text(source), mutant, 0, len(source)))
    built, binaries, _ = cargo_test(tree)
    return verdict(tree, binaries, 1 << 31) if built else "unviable"


def row(name):
    """How tests/mutants.md names a mutant: without the line, which moves."""
    place, change = name.split(": ", 1)
    return f"| {pathlib.PurePath(place.split(':')[0]).name} | {change.replace('|', '&#124;')} |"


def known():
    return (ROOT / "tests" / "mutants.md").read_text()


def main():
    mutants = [mutant for mutant in listed(sys.argv[1:]) if built(mutant)]
    inside = [m for m in mutants if can_choose(m)]
    alone = [m for m in mutants if m not in inside]
    out = pathlib.Path(os.environ.get("MUTANTS_OUT", TARGET / "results.json"))
    out.parent.mkdir(parents=True, exist_ok=True)
    results, lock = json.loads(out.read_text()) if out.exists() else {}, threading.Lock()
    noticed = {name for name, result in results.items() if result and result != "unviable"}

    def note(mutant, result):
        with lock:
            results[mutant["name"]] = result
            out.write_text(json.dumps(results, indent=1))
            if result is None:
                print(f"survives: {mutant['name']}", flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        tree = pathlib.Path(os.environ.get("MUTANTS_TREE", temporary)) / "annals"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("target", ".git", "benches"))
        binaries, unviable = build(tree, inside, {m["id"] for m in inside if results.get(m["name"]) == "unviable"})
        print(f"{len(mutants)} mutants, {len(unviable)} unviable", flush=True)
        if verdict(tree, binaries, 1 << 31):
            sys.exit("the tests fail without a mutant")
        for mutant in inside:
            if mutant["id"] in unviable:
                note(mutant, "unviable")
        viable = [m for m in inside if m["id"] not in unviable and m["name"] not in noticed]
        with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("MUTANTS_JOBS", "2"))) as pool:
            list(pool.map(lambda m: note(m, verdict(tree, binaries, m["id"])), viable))
        for mutant in (m for m in alone if m["name"] not in noticed):
            note(mutant, verdict_alone(tree, mutant))
    unexplained = [name for name, result in results.items() if result is None and row(name) not in known()]
    print(*[f"not explained: {name}" for name in unexplained], sep="\n")
    count = collections.Counter("survives" if r is None else r if r == "unviable" else r[0] for r in results.values())
    print(dict(count))
    sys.exit(bool(unexplained))


if __name__ == "__main__":
    main()
