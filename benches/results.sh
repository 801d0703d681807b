#!/usr/bin/env bash
# Measures everything about the log and writes RESULTS.md. With --delivery, instead measures the bus and consumers on other
# threads, and writes RESULTS-DELIVERY.md; with --store, indexes, filtered reads and the message store, and writes
# RESULTS-STORE.md (needs 8 GiB of memory).
#
# With --plots, some groups are run by criterion as well, and their plots copied to plots/. With --quick, fewer rounds, and
# what would be in RESULTS.md is printed: for trying the script out.
set -euo pipefail
cd "$(dirname "$0")"

quick=() short=() plots=false delivery=false store=false
for argument in "$@"; do
  case $argument in
    --quick) quick=(--quick) short=(--warm-up-time 0.5 --measurement-time 1 --sample-size 10) ;;
    --plots) plots=true ;;
    --delivery) delivery=true ;;
    --store) store=true ;;
    *) sed -n '2,/^set /{/^#/p}' "$0" >&2; exit 2 ;;
  esac
done

# Only rows of tables: umadb-core prints a line whenever it opens a file.
rows() { grep -E '^(\||$)'; }
bench() { cargo bench --bench "$1" -- "${@:2}" "${quick[@]}" | rows; }

machine() {
  local cpu memory commit
  cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
  memory=$(awk '/^MemTotal/ { print int($2 / 1048576 + 0.5) }' /proc/meminfo)
  commit=$(git log -1 --format=%h -- ../src)
  git diff --quiet HEAD -- ../src || commit="$commit, changed since"
  cat <<END
Written by \`benches/results.sh\`. Machine: $cpu, $(nproc) processors, $memory GiB, linux. Load when it began: $load.
Compiler: $(rustc --version | cut -d ' ' -f 1,2). Date: $(date -u +%F). Last change of the engine: commit $commit. How it is
measured, and what the rivals do and do not do: [README.md](README.md).
END
}

if $delivery; then
  cargo bench --no-run --bench bus --bench following >&2
  load=$(cut -d ' ' -f 1 /proc/loadavg)
  bus=$(bench bus)
  following=$(bench following)
  results() {
    cat <<END
# Results of delivery

$(machine)

Below 1 in the last column, annals is faster.

## The bus

$bus

## Consumers on other threads

Throughput by wall time, then how late single messages are.

$following
END
  }
  if [ ${#quick[@]} -gt 0 ]; then results; else results > RESULTS-DELIVERY.md; fi
  exit
fi

if $store; then
  bench_store() { cargo bench --features published --bench store -- "$@" "${quick[@]}" | rows; }
  cargo bench --no-run --features published --bench store >&2
  load=$(cut -d ' ' -f 1 /proc/loadavg)
  small=$(bench_store)
  large=$(bench_store --large)
  # The first table is of indexes.
  table() { awk -v wanted="$1" 'BEGIN { RS = "" } NR == wanted' <<< "$small"; }
  results() {
    cat <<END
# Results of the store

$(machine)

Below 1 in the last column of ratios to others, annals is faster. Where we lose and why:
[README.md](README.md#where-the-store-loses-and-why).

## What an index costs an append

Each message has a category, a name, a tag, and three ids; the first row is the log without index. A log of its own for each run:
most of what an index of many different texts costs is memory that is not in the cache, and the first block of each bucket.

$(table 1)

## Filtered reads, conditions, the message store

What is found is looked at. *By hand* is a row of records and a map of streams under one lock; its records are structs with
texts beside them, its names are pointers that are not copied.

$(table 2)

## Filtered reads of 10 million

$large
END
  }
  if [ ${#quick[@]} -gt 0 ]; then results; else results > RESULTS-STORE.md; fi
  exit
fi

# Groups of criterion whose plot is kept. Their names are those in the tables.
shown=(
  "append, payload shared"
  "append, 64 bytes copied"
  "exact expectation by handle, 1,000 streams"
  "exact expectation by name, 1,000 streams"
  "iterate the log, 64 bytes copied"
  "get at random"
)

# Everything is built before anything is measured.
cargo bench --no-run >&2
cargo bench --no-run --features published --bench published >&2
load=$(cut -d ' ' -f 1 /proc/loadavg)

table=$(bench table)
latency=$(bench contention --latency)
published=$(cargo bench --features published --bench published -- "${quick[@]}" | rows)

file_of() { echo "$1" | tr -s ' ,' '-'; }
directory() { python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'; }
plot() {
  local bench=$1 criterion=$2 group
  local listed; listed=$(cargo bench --bench "$bench" -- --list 2>/dev/null)
  for group in "${shown[@]}"; do
    grep -q "^$group/" <<< "$listed" || continue
    cargo bench --bench "$bench" -- "${short[@]}" "^$group/" >&2
    cp "$criterion/$group/report/violin.svg" "plots/$(file_of "$group").svg"
  done
}
if $plots; then
  criterion=$(cargo metadata --no-deps --format-version 1 | directory)/criterion
  mkdir -p plots
  plot append "$criterion"
  plot read "$criterion"
fi

head='/^\| (work|---)/'

results() {
  cat <<END
# Results

$(machine)

Below 1 in the last column, annals is faster. The rows to compare with are those that do about the same: *one order*.
Where we lose and why: [README.md](README.md#where-we-lose-and-why).

## One thread

$(awk "$head || !/^\| [0-9]+ threads/ && !threads; /^\| [0-9]+ threads/ { threads = 1 }" <<< "$table")

## Several threads

Wall time for each append of all threads together.

$(awk "$head; /^\| [0-9]+ threads/ { threads = 1 } threads" <<< "$table")

## Single appends

The timer itself is part of every row. Maxima are of the size of a time slice of the scheduler; that of the first row shows
what the machine alone does.

$latency

## Published stores

By name, as the others do, and by handle. Those in files are durable where a disk is below them, and annals is not; here
there is none.

$published
END

  [ -d plots ] || return 0
  cat <<END

## Plots

By criterion: one contender after the other, wall time, so less exact than the tables. In return they show the spread.
END
  for group in "${shown[@]}"; do
    printf '\n![%s](plots/%s.svg)\n' "$group" "$(file_of "$group")"
  done
}

if [ ${#quick[@]} -gt 0 ]; then results; else results > RESULTS.md; fi
