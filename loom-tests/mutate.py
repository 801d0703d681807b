#!/usr/bin/env python3
"""Breaks annals on purpose, one thing at a time, and shows which model notices.

Each mutation replaces one piece of source text, which must be there exactly once, in a copy of the project; then the
model that guards it is run and must fail. Every model guards something. Usage: mutate.py [NAME ...]; without names, all
of them. Exit status 1 when a mutation survives or its text is gone, or when a model has none.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

# name, file, text, replacement, test file, model
MUTATIONS = [
    ("swap publishes nothing", "log/append.rs",
     "match slot.compare_exchange(std::ptr::null_mut(), draft.as_ptr(), decide(), Ordering::Acquire) {",
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
     "append", "three_exact_expectations"),
    ("condition checked once", "log/append.rs",
     "Try::Not(there, what) => (spot, seen) = (there, what),",
     "Try::Not(there, what) => {\n                    terms.condition = None;\n                    (spot, seen) = (there, what);\n                }",
     "append", "conditions_race"),
    ("nobody helps", "log/append.rs",
     "                Self::finish_one(spot, record, guard);\n                true",
     "                let _ = record;\n                spot.index += 1;\n                true",
     "append", "a_stopped_appender_is_helped"),
    ("help forgets the index", "log/append.rs",
     "published.entry().index.enter(published.revision(), published.position(), guard);",
     "let _ = (published.entry(), guard);",
     "append", "a_stopped_appender_is_helped"),
    ("help forgets the rest of a batch", "log/append.rs",
     "                    self.finish_batch(spot, record, guard);\n                    true",
     "                    Self::finish_one(spot, record, guard);\n                    true",
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
     "cell.compare_exchange(ptr::null_mut(), moved(), Ordering::Relaxed, Ordering::Acquire)",
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
    ("who loses a swap acquires nothing", "log/append.rs",
     "match slot.compare_exchange(std::ptr::null_mut(), draft.as_ptr(), decide(), Ordering::Acquire) {",
     "match slot.compare_exchange(std::ptr::null_mut(), draft.as_ptr(), decide(), Ordering::Relaxed) {",
     "append", "two_streams_two_appends_each"),
    ("the tail is moved without release", "log/append.rs",
     "let _ = self.tail.compare_exchange(here, next, Ordering::Release, Ordering::Relaxed);",
     "let _ = self.tail.compare_exchange(here, next, Ordering::Relaxed, Ordering::Relaxed);",
     "append", "three_appenders_at_a_boundary"),
    ("a batch's second look acquires nothing", "log/append.rs",
     "match Seen::of(probe(spot.segment.slot(spot.index))) {",
     "match Seen::of(spot.segment.slot(spot.index).load(Ordering::Relaxed)) {",
     "append", "a_batch_expects_an_append"),
    ("a new appender acquires no hint", "log/core.rs",
     "next: self.hint.load(Ordering::Acquire),",
     "next: self.hint.load(Ordering::Relaxed),",
     "append", "a_new_appender_begins_at_the_hint"),
    ("growth copies nothing", "log/directory.rs",
     "Self::copy(entry, to);",
     "let _ = (Self::copy, to);",
     "directory", "appends_while_the_directory_grows"),
    ("another's mark is believed without acquire", "log/directory.rs",
     "let start = from.emptied.load(Ordering::Acquire);",
     "let start = from.emptied.load(Ordering::Relaxed);",
     "directory", "the_emptying_is_shared"),
    ("a block is published without release", "log/index.rs",
     "match self.next.compare_exchange(ptr::null_mut(), made, Ordering::Release, Ordering::Acquire) {",
     "match self.next.compare_exchange(ptr::null_mut(), made, Ordering::Relaxed, Ordering::Acquire) {",
     "index", "a_block_boundary"),
    ("a reader of a stream acquires no head", "log/index.rs",
     "let head = self.head.load(Ordering::Acquire);",
     "let head = self.head.load(Ordering::Relaxed);",
     "index", "a_block_is_retired_under_a_reader"),
    ("who retires a block acquires no successor", "log/index.rs",
     "block.next.load(Ordering::Acquire));",
     "block.next.load(Ordering::Relaxed));",
     "index", "a_block_is_retired_by_two"),
    ("who retires a block acquires no head", "log/index.rs",
     "let head = probe(&self.head);",
     "let head = self.head.load(Ordering::Relaxed);",
     "index", "two_blocks_are_retired_by_two"),
    ("who looks for a block acquires no head", "log/index.rs",
     "let head = unsafe { Block::at(self.head.load(Ordering::Acquire)) };",
     "let head = unsafe { Block::at(self.head.load(Ordering::Relaxed)) };",
     "index", "two_blocks_are_retired_under_a_reader"),
    ("the swap of a batch publishes nothing", "log/append.rs",
     "match slot.compare_exchange(std::ptr::null_mut(), value, decide(), Ordering::Acquire) {",
     "match slot.compare_exchange(std::ptr::null_mut(), value, Ordering::Relaxed, Ordering::Acquire) {",
     "read", "a_batch_an_append_and_a_reader"),
    ("an append returns without its mark", "log/append.rs",
     "slot.store(done(draft.as_ptr()), Ordering::Release);\n", "",
     "read", "a_causal_hand_off"),
    ("a position is entered without release", "log/index.rs",
     "self.position.store(position, Ordering::Release);",
     "self.position.store(position, Ordering::Relaxed);",
     "read", "observe_then_expect"),
    ("what is not finished is visible", "log/core.rs",
     "Seen::Empty | Seen::Open(_) | Seen::Closed => return spot,\n                Seen::Done(_) => spot.index += 1,",
     "Seen::Empty | Seen::Closed => return spot,\n                Seen::Open(_) | Seen::Done(_) => spot.index += 1,",
     "read", "four_appends_and_a_reader"),
    ("who frees a record acquires nothing", "log/record.rs",
     "        acquire(&self.header().holders);\n", "        let _ = acquire;\n",
     "retain", "an_envelope_outlives_its_log"),
    ("a segment is handed over without release", "log/garbage.rs",
     "match self.list.compare_exchange(first, segment, Ordering::Release, Ordering::Relaxed) {",
     "match self.list.compare_exchange(first, segment, Ordering::Relaxed, Ordering::Relaxed) {",
     "retain", "a_segment_is_handed_over"),
    ("who frees a segment acquires nothing", "log/segment.rs",
     "        acquire(&self.holders);\n", "        let _ = acquire;\n",
     "retain", "the_last_handle_frees_the_log"),
    ("who truncates acquires no head", "log/retain.rs",
     "let first = probe(&self.head);",
     "let first = self.head.load(Ordering::Relaxed);",
     "retain", "truncation_overtakes_a_truncation"),
    ("another's segment is taken without acquire", "log/segment.rs",
     "match segment.next.compare_exchange(ptr::null_mut(), made, Ordering::Release, Ordering::Acquire) {",
     "match segment.next.compare_exchange(ptr::null_mut(), made, Ordering::Release, Ordering::Relaxed) {",
     "stop", "the_maker_of_a_segment_stops"),
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


def copied(tree):
    """A copy of the project, always at the same place: so a build begins where the last one ended."""
    shutil.rmtree(tree, ignore_errors=True)
    for part in ["src", "loom-tests"]:
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("target"))
    shutil.copy(ROOT / "Cargo.toml", tree)


def run(tree, target, test, model):
    """Whether it was built, whether the model failed, and what was said."""
    # Incremental: a mutation changes one function, and most of the time went into building the rest again.
    env = dict(os.environ, RUSTFLAGS="--cfg loom", CARGO_TARGET_DIR=str(target), CARGO_INCREMENTAL="1")
    command = ["cargo", "test", "--release", "--quiet", "--test", test, "--", "--exact", model]
    done = subprocess.run(command, cwd=tree / "loom-tests", env=env, capture_output=True, text=True, timeout=900)
    output = done.stdout + done.stderr
    return "error: could not compile" not in output, done.returncode != 0 and "running 1 test" in output, output


def without_mutation(tree):
    """Models that no mutation is noticed by."""
    guarded = {(test, model) for *_, test, model in MUTATIONS}
    tests = sorted((tree / "loom-tests" / "tests").glob("*.rs"))
    models = [(path.stem, model) for path in tests for model in re.findall(r"#\[test\]\nfn (\w+)", path.read_text())]
    return [model for test, model in models if (test, model) not in guarded]


def main():
    wanted = set(sys.argv[1:])
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "mutants"
    tree = target / "tree"
    copied(tree)
    failed = False
    for model in without_mutation(tree):
        print(f"{model}: nothing shows that it can fail", flush=True)
        failed = True
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
        built, noticed, output = run(tree, target, test, model)
        path.write_text(source)
        verdict = f"`{model}`" if built and noticed else ("does not compile" if not built else "NOBODY")
        failed |= not (built and noticed)
        print(f"| {name} | {verdict} | {time.monotonic() - started:.0f} |", flush=True)
        if not built:
            print(output[-2000:])
    sys.exit(failed)


if __name__ == "__main__":
    main()
