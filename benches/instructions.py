#!/usr/bin/env python3
"""Counts the instructions of an operation, and compares them with those recorded in instructions.json.

    python3 benches/instructions.py             fails when a workload needs over 3 % more than recorded
    python3 benches/instructions.py --record    writes what it counts, to be committed

Times on a shared machine come and go by tens of percent; instructions do not. They say nothing of caches or of how long a
compare-and-swap takes, so benchmarks remain the measure: this only notices what got longer. Needs valgrind.
"""

import json
import os
import platform
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORDED = HERE / "instructions.json"
ALLOWED = 0.03


def output_of(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def build():
    """Builds the workloads and returns where the program is."""
    manifest = str(HERE / "Cargo.toml")
    messages = output_of("cargo", "build", "--release", "--manifest-path", manifest, "--bin", "instructions",
                         "--message-format", "json-render-diagnostics")
    for message in map(json.loads, messages.splitlines()):
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == "instructions":
            return message["executable"]
    sys.exit("cargo built no program")


def count(program, workload):
    """Instructions for each operation, of what happens inside of `measured`."""
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*measured*"]
    done = subprocess.run([*valgrind, program, workload], capture_output=True, text=True)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or collected is None or int(collected[1]) == 0:
        sys.exit(f"{workload}: nothing was counted\n{done.stderr}")
    return int(collected[1]) / int(done.stdout)


def count_all():
    program = build()
    workloads = output_of(program, "--list").splitlines()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(workloads, pool.map(lambda workload: count(program, workload), workloads)))


def tools():
    """What counts depend on besides the code."""
    return {
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "rustc": output_of("rustc", "--version").strip(),
        "valgrind": output_of("valgrind", "--version").strip(),
    }


def record(counts):
    content = {"with": tools(), "instructions": {name: round(number, 1) for name, number in counts.items()}}
    RECORDED.write_text(json.dumps(content, indent=2) + "\n")
    for name, number in counts.items():
        print(f"{number:9.1f}  {name}")


def compare(counts):
    """Prints all counts, and returns whether each is at most what it may be."""
    recorded = json.loads(RECORDED.read_text())
    known = recorded["instructions"]
    worse = better = False
    for name, number in counts.items():
        if name not in known:
            worse = True
            print(f"{number:9.1f}  {name}: not recorded")
            continue
        change = number / known[name] - 1
        worse |= change > ALLOWED
        better |= change < -ALLOWED
        mark = "  <- more" if change > ALLOWED else "  <- fewer" if change < -ALLOWED else ""
        print(f"{number:9.1f}  {name}: recorded {known[name]}, {change:+.1%}{mark}")
    gone = known.keys() - counts.keys()
    for name in sorted(gone):
        print(f"     gone  {name}")
    if better:
        print("Some need over 3 % fewer. Keep it: record again, and commit.")
    if worse or gone:
        print(f"Some need over {ALLOWED:.0%} more than recorded, or are not recorded, or are gone.")
        now = tools()
        for tool in now:
            if now[tool] != recorded["with"].get(tool):
                print(f"Recorded with {tool} {recorded['with'].get(tool)}, now it is {now[tool]}: that alone may explain it.")
        print("If it is meant, say why in the commit that records again: python3 benches/instructions.py --record")
    return not (worse or gone)


def main():
    arguments = sys.argv[1:]
    if arguments not in ([], ["--record"]):
        sys.exit(__doc__)
    counts = count_all()
    if arguments:
        record(counts)
    elif not compare(counts):
        sys.exit(1)


if __name__ == "__main__":
    main()
