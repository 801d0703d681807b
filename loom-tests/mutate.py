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

# name, file, text, replacement, test file, model; `rmw` when only the run with `annals_rmw_loads` notices
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
    # Delivery.
    ("whoever settles has no fence", "log/settle.rs",
     "        fence(Ordering::SeqCst);\n", "        let _ = fence;\n",
     "follow", "a_follower_waits_beside_an_append"),
    ("the word is looked up without a fence", "sync/mod.rs",
     "        fence(Ordering::SeqCst);\n        word.load(Ordering::Acquire)", "        word.load(Ordering::Acquire)",
     "follow", "a_follower_waits_beside_an_append"),
    ("the set before the word", "delivery/feed.rs",
     "        log.core().interest.add(Interest::ONE);\n        delivery.all.enter(member);",
     "        delivery.all.enter(member);\n        log.core().interest.add(Interest::ONE);",
     "delivery", "one_comes_while_another_goes"),
    ("an observer's place is known before it is in its set", "delivery/feed.rs",
     "let place = enter(&self.log, self.stream.as_ref(), &member);",
     "member.start(self.log.core());\n        let place = enter(&self.log, self.stream.as_ref(), &member);",
     "delivery", "observe_from_the_beginning"),
    ("who is not in place yet is passed by", "delivery/deliver.rs",
     "member.start(log.core()) >= envelope.position().get()",
     "member.start(log.core()) >= envelope.position().get() - 1",
     "delivery", "observe_from_the_beginning"),
    ("one snapshot, two instants", "delivery/deliver.rs",
     "if again.is(&all) {", "if true || again.is(&all) {",
     "delivery", "the_sets_of_log_and_stream_are_looked_at_at_once", "rmw"),
    ("the log's set before the stream's word", "delivery/deliver.rs",
     "        if envelope.interest().word() <= Interest::WAITING {\n",
     "        let all = self.all.load();\n        if envelope.interest().word() <= Interest::WAITING {\n"
     "            return Snapshot { all, stream: None };\n        }\n"
     "        if envelope.interest().word() <= Interest::WAITING {\n",
     "delivery", "the_sets_of_log_and_stream_are_looked_at_at_once"),
    ("close does not wait", "delivery/door.rs",
     "self.waiters.block(None, || self.is_gone());", "",
     "delivery", "close_beside_appends"),
    ("the door opens before the handler is gone", "delivery/member.rs",
     "    number: u64,\n    consumer: Consumer,\n    door: Arc<Door>,\n    /// The last field: dropped after the handler.\n    _ticket: Ticket,",
     "    _ticket: Ticket,\n    number: u64,\n    consumer: Consumer,\n    door: Arc<Door>,",
     "delivery", "close_beside_appends"),
    ("who closes inside a handler waits", "delivery/door.rs",
     "if !turn::is_taken() {", "if true {",
     "handlers", "close_inside_the_handler"),
    ("what is dropped goes on", "delivery/subscription.rs",
     "                if delivery.all.leave(self.number, false) != Left::Absent {\n",
     "                if self.number == u64::MAX && delivery.all.leave(self.number, false) != Left::Absent {\n",
     "delivery", "drop_beside_an_append"),
    ("a retired set takes members", "delivery/set.rs",
     "Some(old) if old.retired => return None,", "Some(old) if old.retired && old.handles > 0 => return None,",
     "delivery", "two_come_and_go"),
    ("what handlers append is delivered at once", "sync/turn.rs",
     "    if is_taken() {\n        defer(later());\n        return None;\n    }\n", "    let _ = later;\n",
     "handlers", "append_inside_a_handler"),
    ("the claim is given back without a word", "delivery/sequential.rs",
     "        drop(run);\n        self.waiters.wake_all();\n        Pass::Passed", "        drop(run);\n        Pass::Passed",
     "handlers", "two_appenders_and_a_subscriber"),
    ("the claim is given back without release", "log/pool.rs",
     "self.place.store(self.value.as_ptr(), Ordering::Release);",
     "self.place.store(self.value.as_ptr(), Ordering::Relaxed);",
     "handlers", "two_appenders_and_a_subscriber"),
    ("nobody waits for who has the claim", "delivery/deliver.rs",
     "            sequential.pass_or_wait(log, end, Some(envelope), None, self);\n",
     "            sequential.pass(log, end, Some(envelope), self);\n",
     "handlers", "two_appenders_and_a_subscriber"),
    ("a panic ends the subscription", "delivery/sequential.rs",
     "if self.on_failure != OnFailure::Continue {", "if true {",
     "handlers", "a_handler_panics"),
    ("who waits looks, then registers", "delivery/waiting.rs",
     "            self.register(&waiter, &waker);\n            let is_ready = ready();",
     "            let is_ready = ready();\n            self.register(&waiter, &waker);",
     "handlers", "two_appenders_and_a_subscriber"),
    ("who registers has no fence", "delivery/waiting.rs",
     "        // SeqCst: pairs with the fence in `wake_all`.\n        fence(Ordering::SeqCst);\n", "",
     "handlers", "two_appenders_and_a_subscriber"),
    ("who wakes has no fence", "delivery/waiting.rs",
     "        // SeqCst: pairs with the fence in `register`.\n        fence(Ordering::SeqCst);\n", "",
     "handlers", "two_appenders_and_a_subscriber"),
    ("one is woken", "delivery/waiting.rs",
     "self.0.take().get().into_iter().flatten() {", "self.0.take().get().into_iter().flatten().take(1) {",
     "follow", "two_followers_wait_beside_an_append"),
    ("who waits is on no list", "delivery/follower.rs",
     "        let log = self.log();\n        self.waiters().register(&waiter, waker);\n",
     "        let log = self.log();\n",
     "follow", "a_follower_waits_beside_an_append"),
    ("nobody says that he waits", "delivery/follower.rs",
     "            Source::Log(_) => log.core().interest.wait(),\n", "            Source::Log(_) => {}\n",
     "follow", "a_follower_waits_beside_an_append"),
    ("closing wakes nobody", "delivery/deliver.rs",
     "    fn closed(&self, _: &Log) {\n        self.waiters.wake_all();\n", "    fn closed(&self, _: &Log) {\n",
     "follow", "a_follower_waits_beside_an_append_and_the_close"),
    ("closed, without another look", "log/tail.rs",
     "                if !self.is_visible() {\n                    return Step::Closed;\n                }\n",
     "                return Step::Closed;\n",
     "follow", "a_follower_waits_beside_an_append_and_the_close"),
    ("the mark of the close is overwritten", "log/append.rs",
     "            if seen == Seen::Closed {\n                return Err(Refusal::Closed);\n            }\n",
     "            if seen == Seen::Closed {\n                spot.index += 1;\n                seen = Seen::Empty;\n            }\n",
     "follow", "close_the_log_beside_an_append"),
    ("a place that is not known has been passed", "delivery/sequential.rs",
     "next != PENDING && (next >= end || self.stream", "next >= end || next != PENDING && (self.stream",
     "follow", "wait_for_a_name_beside_its_subscription"),
    ("resumed, up to an end that was looked at", "delivery/subscription.rs",
     "let end = core.settle_watched(&core.pin());", "let end = core.end(&core.pin());",
     "follow", "resume_beside_an_append"),
    ("close does not wait for who resumes", "delivery/subscription.rs",
     "        Delivery::catch_up(&self.log, &member, Position::new(end));",
     "        let sequential = self.sequential.clone().unwrap();\n        drop(member);\n"
     "        let work = || sequential.pass_or_wait(&self.log, end, None, None, Delivery::of(&self.log));\n"
     "        turn::take(work, || unreachable!());",
     "follow", "close_beside_a_resume"),
    ("a skip does not wait for the claim", "delivery/sequential.rs",
     'unreachable!("put there by `new`")) else { return false };', 'unreachable!("put there by `new`")) else { return true };',
     "follow", "skip_beside_the_append_that_parks"),
    ("the dispatcher is not woken", "delivery/dispatcher.rs",
     "            }\n        }\n        self.mailbox.waiters.wake_all();", "            }\n        }",
     "follow", "stored_appends_are_delivered"),
    ("the dispatcher outlives its log", "delivery/dispatcher.rs",
     "        self.mailbox.stopped.store(1, Ordering::Release);\n        self.mailbox.waiters.wake_all();",
     "        self.mailbox.stopped.store(1, Ordering::Release);",
     "follow", "stored_appends_are_delivered"),
    ("what is stored is handed over twice", "delivery/deliver.rs",
     "            self.dispatcher.add(log, envelopes);\n",
     "            self.dispatcher.add(log, envelopes);\n            self.dispatcher.add(log, envelopes);\n",
     "follow", "stored_appends_are_delivered"),
    ("the past ends one too soon", "delivery/feed.rs",
     "from..start),", "from..start.saturating_sub(1)),",
     "delivery", "observe_from_the_beginning"),
    ("what is delivered is counted before it is in the log", "log/append.rs",
     "slot.store(done(draft.as_ptr()), Ordering::Release);\n                local.next",
     "slot.store(done(draft.as_ptr()), Ordering::Relaxed);\n                local.next",
     "follow", "appends_a_subscription_and_a_reader"),
    ("the set is replaced by what was read before", "sync/cow.rs",
     "                    Err(_) => drop(self.remove(number)),\n                }\n",
     "                    Err(_) => {\n                        let before = self.current.swap(number, Ordering::AcqRel);\n"
     "                        drop(self.remove(before));\n                        return true;\n                    }\n                }\n",
     "delivery", "two_come_and_go"),
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
        targets = {False: ROOT / "target" / "mutants", True: ROOT / "target" / "mutants-rmw"}
        for part in ["src", "loom-tests"]:
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("target"))
        shutil.copy(ROOT / "Cargo.toml", tree)
        print("| broken | noticed by | s |\n| --- | --- | --- |", flush=True)
        for name, file, text, replacement, test, model, *rmw in MUTATIONS:
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
            built, noticed, output = run(tree, targets[bool(rmw)], test, model, bool(rmw))
            path.write_text(source)
            verdict = f"`{model}`" if built and noticed else ("does not compile" if not built else "NOBODY")
            failed |= not (built and noticed)
            print(f"| {name} | {verdict} | {time.monotonic() - started:.0f} |", flush=True)
            if not built:
                print(output[-2000:])
    sys.exit(failed)


if __name__ == "__main__":
    main()
