#!/usr/bin/env python3
"""Breaks annals on purpose, one thing at a time, and shows which model notices.

Each mutation replaces one piece of source text, which must be there exactly once, in a copy of the project; then the
model that guards it is run and must fail. Usage: mutate.py [NAME ...]; without names, all of them. Exit status 1 when a
mutation survives or its text is gone.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

# name, file, text, replacement, test file, model
MUTATIONS = [
    ("swap publishes nothing", "log/append.rs",
     "match slot.compare_exchange(std::ptr::null_mut(), draft.as_ptr(), Ordering::Release, Ordering::Acquire) {",
     "match slot.compare_exchange(std::ptr::null_mut(), draft.as_ptr(), Ordering::Relaxed, Ordering::Acquire) {",
     "append", "a_stopped_appender_is_helped"),
    ("mark publishes nothing", "log/append.rs",
     "slot.store(done(draft.as_ptr()), Ordering::Release);",
     "slot.store(done(draft.as_ptr()), Ordering::Relaxed);",
     "read", "two_streams_and_a_reader"),
    ("batch mark publishes nothing", "log/append.rs",
     "slot.store(done(record.as_ptr().as_ptr()), Ordering::Release);",
     "slot.store(done(record.as_ptr().as_ptr()), Ordering::Relaxed);",
     "read", "a_batch_and_a_reader"),
    ("reader acquires nothing", "log/core.rs",
     "match Seen::of(spot.segment.slot(spot.index).load(Ordering::Acquire)) {",
     "match Seen::of(spot.segment.slot(spot.index).load(Ordering::Relaxed)) {",
     "read", "two_streams_and_a_reader"),
    ("refused without a second look", "log/append.rs",
     "return match Seen::of(probe(slot)) {",
     "return match Seen::Empty {",
     "append", "exact_expectations_on_one_stream"),
    ("revision read without acquire", "log/index.rs",
     "let mut place = self.used.load(Ordering::Acquire);",
     "let mut place = self.used.load(Ordering::Relaxed);",
     "append", "exact_expectations_on_one_stream"),
    ("revision told without release", "log/index.rs",
     "self.block.used.store(self.place + 1, Ordering::Release);",
     "self.block.used.store(self.place + 1, Ordering::Relaxed);",
     "append", "exact_expectations_on_one_stream"),
    ("the hint of an index is believed", "log/index.rs",
     "if cell.load(Ordering::Acquire) == 0 {",
     "if true {",
     "append", "a_segment_boundary"),
    ("expectation decided before the slot", "log/append.rs",
     "let admits = |actual| expected.admits(actual);",
     "let admits = |actual| lost || expected.admits(actual);",
     "append", "exact_expectations_on_one_stream"),
    ("condition checked once", "log/append.rs",
     "Try::Not(there, what) => (spot, seen) = (there, what),",
     "Try::Not(there, what) => {\n                    terms.condition = None;\n                    (spot, seen) = (there, what);\n                }",
     "append", "conditions_race"),
    ("nobody helps", "log/append.rs",
     "Seen::Open(record) => Self::finish_one(spot, record, guard),",
     "Seen::Open(_) => spot.index += 1,",
     "append", "a_stopped_appender_is_helped"),
    ("help forgets the index", "log/append.rs",
     "published.entry().index.enter(published.revision(), published.position(), guard);",
     "let _ = (published.entry(), guard);",
     "append", "a_stopped_appender_is_helped"),
    ("help forgets the rest of a batch", "log/append.rs",
     "None => self.finish_batch(spot, record, guard),",
     "None => Self::finish_one(spot, record, guard),",
     "append", "a_stopped_batch_is_helped"),
    ("half a batch is visible", "log/core.rs",
     "Seen::Done(_) => spot.index += 1,\n                Seen::More(_) => match Self::after_batch(spot) {\n"
     "                    Some(after) => spot = after,\n                    None => return spot,\n                },",
     "Seen::Done(_) | Seen::More(_) => spot.index += 1,",
     "read", "a_batch_and_a_reader"),
    ("segment published without release", "log/segment.rs",
     "match segment.next.compare_exchange(ptr::null_mut(), made, Ordering::Release, Ordering::Acquire) {",
     "match segment.next.compare_exchange(ptr::null_mut(), made, Ordering::Relaxed, Ordering::Acquire) {",
     "append", "a_segment_boundary"),
    ("loser of a segment forgets to free", "log/segment.rs",
     "                unsafe { Self::free_shell(made) };\n                other",
     "                unsafe { Self::free_shell(made) };\n                made",
     "append", "a_segment_boundary"),
    ("stream published without release", "log/directory.rs",
     "self.cells[index].compare_exchange(ptr::null_mut(), entry, Ordering::Release, Ordering::Relaxed).is_ok();",
     "self.cells[index].compare_exchange(ptr::null_mut(), entry, Ordering::Relaxed, Ordering::Relaxed).is_ok();",
     "append", "one_new_stream_created_twice"),
    ("the lost insert stays", "log/directory.rs",
     "Found::Empty(index) if table.put(index, entry.as_ptr()) => return entry,",
     "Found::Empty(index) => {\n                    table.put(index, entry.as_ptr());\n                    return entry;\n                }",
     "append", "one_new_stream_created_twice"),
    ("empty cells are not sealed", "log/directory.rs",
     "cell.compare_exchange(ptr::null_mut(), moved(), Ordering::Release, Ordering::Acquire)",
     "Err::<(), _>(cell.load(Ordering::Acquire)).map_err(|e| if e.is_null() { moved() } else { e })",
     "append", "the_directory_grows"),
    ("envelope is no holder", "log/envelope.rs",
     "        record.hold();\n", "",
     "retain", "truncation_and_a_held_envelope"),
    ("unlinked is let go at once", "log/retain.rs",
     "unsafe { guard.defer(move || unlinked.let_go()) };",
     "unlinked.let_go();",
     "retain", "truncation_and_a_cursor"),
    ("a cursor holds nothing", "log/cursor.rs",
     "            segment.hold();\n", "",
     "retain", "truncation_and_a_cursor"),
    ("the tail's segment is unlinked", "log/retain.rs",
     " || segment.number() >= self.tail(guard).number()", "",
     "retain", "truncation_and_an_appender"),
    ("a block leaves before its records", "log/index.rs",
     "if dead < block.len || next.is_null() {",
     "if next.is_null() {",
     "retain", "truncation_and_an_appender"),
    ("a holder leaves without release", "log/record.rs",
     "if self.header().holders.fetch_sub(1, Ordering::Release) == 1 {",
     "if self.header().holders.fetch_sub(1, Ordering::Relaxed) == 1 {",
     "retain", "truncation_and_a_held_envelope"),
    ("the walk to the end stops early", "log/core.rs",
     "spot.index.saturating_add(HINT_LAG);",
     "spot.index.saturating_add(1);",
     "read", "the_end_hint"),
    ("the hint runs ahead", "log/append.rs",
     "match self.hint.compare_exchange(hint, index, Ordering::Release, Ordering::Relaxed) {",
     "match self.hint.compare_exchange(hint, index + 1, Ordering::Release, Ordering::Relaxed) {",
     "read", "the_end_hint"),
    ("a look-up follows a table that nobody made", "log/directory.rs",
     "            if table.is_null() {\n                return None;\n            }\n", "",
     "directory", "a_table_without_an_empty_cell"),
    ("a full table is waited for", "log/directory.rs",
     "Found::Moved => drop(Self::grow(table)),",
     "Found::Moved => {}",
     "directory", "a_table_without_an_empty_cell"),
    ("the table is found without acquire", "log/directory.rs",
     "let current = probe(&self.current);",
     "let current = self.current.load(Ordering::Relaxed);",
     "directory", "the_emptying_is_shared"),
    ("time goes back", "log/append.rs",
     "draft.stamp(now.max(time), sum);",
     "draft.stamp(now, sum);",
     "append", "times_never_decrease"),
    ("a batch goes over the last position", "log/append.rs",
     "if spot.index + plan.drafts.len() as u64 > LIMIT {",
     "if spot.index >= LIMIT {",
     "append", "the_last_positions"),
    ("the pool lends to two", "log/pool.rs",
     "if place.compare_exchange(there, in_use(), Ordering::Acquire, Ordering::Relaxed).is_ok() {",
     "if true {",
     "append", "two_threads_and_one_pool"),
    ("a chunk counts without release", "log/arena.rs",
     "chunk.alive.fetch_sub(count, Ordering::Release);",
     "chunk.alive.fetch_sub(count, Ordering::Relaxed);",
     "retain", "the_last_envelope_frees_its_chunk"),
    ("who sweeps acquires nothing", "log/garbage.rs",
     "let mut at = self.list.swap(std::ptr::null_mut(), Ordering::Acquire);",
     "let mut at = self.list.swap(std::ptr::null_mut(), Ordering::Relaxed);",
     "retain", "truncation_and_a_read_of_the_past"),
    ("a new head is followed without acquire", "log/core.rs",
     "Segment::at(self.head.load(Ordering::Acquire))",
     "Segment::at(self.head.load(Ordering::Relaxed))",
     "retain", "truncation_overtakes_a_reader"),
    ("a maker of segments acquires no head", "log/segment.rs",
     "Self::at(head.load(Ordering::Acquire)) }.number",
     "Self::at(head.load(Ordering::Relaxed)) }.number",
     "retain", "truncation_overtakes_an_appender"),
    ("a maker of blocks acquires no head", "log/index.rs",
     "Block::at(head.load(Ordering::Acquire)) }.number",
     "Block::at(head.load(Ordering::Relaxed)) }.number",
     "index", "a_block_is_retired_under_its_maker"),
    ("retention removes one too many", "log/retain.rs",
     "end - index > records",
     "end - index >= records",
     "retain", "appends_keep_to_a_retention"),
    ("a helper's mark publishes nothing", "log/append.rs",
     "spot.segment.slot(spot.index).store(done(record.as_ptr()), Ordering::Release);",
     "spot.segment.slot(spot.index).store(done(record.as_ptr()), Ordering::Relaxed);",
     "stop", "an_append_stops_where_the_hint_lags"),
    ("a helper enters nothing", "log/append.rs",
     "published.entry().index.enter(published.revision(), published.position(), guard);\n",
     "let _ = (published.entry(), guard);\n",
     "stop", "a_helper_stops"),
    ("a retired set takes members", "delivery/set.rs",
     "Some(old) if old.retired => return None,", "Some(old) if old.retired && old.handles > 9 => return None,",
     "bus", "a_key_is_removed_while_another_joins"),
    ("removing a key removes who took it again", "delivery/keyed.rs",
     "Arc::ptr_eq(other, topic))?;", "other.key == topic.key)?;",
     "bus", "a_key_is_removed_while_another_joins"),
    ("a handle that goes retires the members", "delivery/set.rs",
     "next.retired = next.members.is_empty() && next.handles == 0;", "next.retired = next.handles == 0;",
     "bus", "a_handle_is_let_go_while_another_joins"),
    ("two look at the set one after the other", "delivery/bus.rs",
     "self.deliver(&self.keyed.members(key), closings, value)",
     "self.deliver(&self.keyed.members(key), closings, value);\n        self.deliver(&self.keyed.members(key), closings, value)",
     "bus", "a_value_goes_to_one_snapshot_of_a_key_made_anew"),
    ("the order is that of arrival", "delivery/set.rs",
     "next.members.insert(place, member.clone());", "next.members.insert(place * 0, member.clone());",
     "bus", "a_value_goes_to_one_snapshot"),
    ("a copy of a member keeps the handler", "delivery/bus/member.rs",
     "        Self { handler: self.handler.clone(), ticket: self.ticket.clone(), number: self.number }",
     "        let copy = (self.handler.clone(), self.ticket.clone());\n        std::mem::forget(copy.0.clone());\n"
     "        Self { handler: copy.0, ticket: copy.1, number: self.number }",
     "bus", "a_set_that_is_gone_through_lives_on"),
    ("close does not wait", "delivery/bus/subscription.rs",
     "        self.door.wait_until_gone();\n", "",
     "bus", "quiet_after_close"),
    ("closing is not counted", "delivery/bus/subscription.rs",
     "        self.core.closed();\n", "",
     "bus", "nobody_begins_to_call_what_a_handler_closed"),
    ("closing is counted before leaving", "delivery/bus/subscription.rs",
     "        self.unsubscribe();\n        self.core.closed();\n", "        self.core.closed();\n        self.unsubscribe();\n",
     "bus", "nobody_begins_to_call_what_a_handler_closed"),
    ("nobody waits for its turn", "sync/turn.rs",
     "    if is_taken() {\n        return None;\n    }\n", "",
     "bus", "what_a_handler_publishes_comes_after"),
]


def run(tree, target, test, model, rmw):
    flags = "--cfg loom" + (" --cfg annals_rmw_loads" if rmw else "")
    import os
    env = dict(os.environ, RUSTFLAGS=flags, CARGO_TARGET_DIR=str(target))
    command = ["cargo", "test", "--release", "--quiet", "--test", test, "--", "--exact", model]
    done = subprocess.run(command, cwd=tree / "loom-tests", env=env, capture_output=True, text=True, timeout=900)
    built = "error: could not compile" not in done.stderr
    return built, done.returncode != 0, done.stdout + done.stderr


def main():
    wanted = set(sys.argv[1:])
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        tree = pathlib.Path(temporary) / "annals"
        target = ROOT / "target" / "mutants"
        for part in ["src", "loom-tests"]:
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("target"))
        shutil.copy(ROOT / "Cargo.toml", tree)
        print("| broken | noticed by | s |\n| --- | --- | --- |", flush=True)
        for name, file, text, replacement, test, model in MUTATIONS:
            if wanted and name not in wanted:
                continue
            path = tree / "src" / file
            source = path.read_text()
            if source.count(text) != 1:
                print(f"| {name} | its text occurs {source.count(text)} times in {file} | |", flush=True)
                failed = True
                continue
            path.write_text(source.replace(text, replacement))
            started = time.monotonic()
            built, noticed, output = run(tree, target, test, model, rmw=False)
            path.write_text(source)
            verdict = f"`{model}`" if built and noticed else ("does not compile" if not built else "NOBODY")
            failed |= not (built and noticed)
            print(f"| {name} | {verdict} | {time.monotonic() - started:.0f} |", flush=True)
            if not built:
                print(output[-2000:])
    sys.exit(failed)


if __name__ == "__main__":
    main()
