"""Pins and spend: over restarts, between processes, and when one of them is killed."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
import time

import pytest

from erp.config.serve import Pins
from erp.errors import ErpError
from erp.serving.state import State

NOON = 1_800_000_000 - 1_800_000_000 % 86_400 + 43_200.0  # of a day of UTC
FORK = multiprocessing.get_context("fork")


@pytest.fixture(params=["file", "memory"])
def path(request, tmp_path):
    return tmp_path / "state.sqlite" if request.param == "file" else None


def test_a_conversation_stays_until_it_was_quiet_for_its_time(path):
    state = State(path, Pins(ttl_s=60))
    assert state.pinned("talk", NOON) is None
    state.pin("talk", "small", NOON)
    assert state.pinned("talk", NOON + 59) == "small"
    state.pin("talk", "large", NOON + 59)
    assert state.pinned("talk", NOON + 118) == "large"
    assert state.pinned("talk", NOON + 119) is None
    assert state.pinned("another", NOON) is None
    state.close()


def test_no_time_pins_none(path):
    state = State(path, Pins(ttl_s=0))
    state.pin("talk", "small", NOON)
    assert state.pinned("talk", NOON) is None
    state.close()


def test_those_longest_unused_are_forgotten_first(path):
    state = State(path, Pins(most=50))
    for i in range(200):
        state.pin(f"talk {i}", "small", NOON + i)
    kept = [i for i in range(200) if state.pinned(f"talk {i}", NOON + 200)]
    assert kept == list(range(150, 200))
    state.close()


def test_keys_of_any_kind_are_taken_and_none_is_kept_as_it_came(tmp_path):
    state = State(tmp_path / "state.sqlite")
    for key in ("", "x" * 100_000, "secret session\0", "\ud800"):
        state.pin(key, "small", NOON)
        assert state.pinned(key, NOON) == "small"
    state.close()
    assert b"secret session" not in (tmp_path / "state.sqlite").read_bytes()


def test_spend_counts_by_hour_and_day_of_utc(path):
    state = State(path)
    for hours, usd in ((-13, 100.0), (-12, 1.0), (-1, 2.0), (0, 4.0), (0.99, 8.0), (1, 16.0)):
        state.add_spend(usd, NOON + 3600 * hours)
    assert state.spent(NOON) == (12.0, 15.0)
    assert state.spent(NOON + 3600) == (16.0, 31.0)
    assert state.spent(NOON + 86_400) == (0.0, 0.0)
    state.close()


def test_what_was_spent_and_pinned_outlives_a_restart(tmp_path):
    state = State(tmp_path / "state.sqlite")
    state.add_spend(1.5, NOON)
    state.pin("talk", "small", NOON)
    state.close()
    again = State(tmp_path / "state.sqlite")
    assert (again.spent(NOON), again.pinned("talk", NOON)) == ((1.5, 1.5), "small")
    again.close()


def _spend(path, pipe, times):
    state = State(path)
    for i in range(times):
        state.add_spend(1.0, NOON)
        state.pin(f"talk {i}", "small", NOON)
        state.level("lambda", 0.0, 1.0, 1e9)
        if pipe is not None:
            pipe.send(i + 1)
    assert state.faults == 0
    state.close()


def test_two_workers_that_start_at_once_lose_nothing(tmp_path):
    path = tmp_path / "state.sqlite"
    workers = [FORK.Process(target=_spend, args=(path, None, 300)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    state = State(path)
    assert state.spent(NOON) == (600.0, 600.0)
    assert state.level("lambda", 0.0, 0.0, 1e9) == 600.0
    state.close()


def test_a_worker_that_is_killed_at_any_moment_is_within_one_request_of_the_truth(tmp_path):
    path, told = tmp_path / "state.sqlite", 0
    moments = random.Random(0)
    for _ in range(10):
        theirs, ours = FORK.Pipe(duplex=False)
        worker = FORK.Process(target=_spend, args=(path, ours, 10**9))
        worker.start()
        ours.close()
        theirs.recv()
        time.sleep(moments.uniform(0, 0.03))
        worker.kill()
        worker.join(60)
        last = 1
        try:
            while True:
                last = theirs.recv()
        except EOFError:
            theirs.close()
        told += last
        state = State(path)
        (found, _), told_before = state.spent(NOON), told
        state.close()
        assert told_before <= found <= told_before + 1
        told = int(found)


def test_a_file_that_is_locked_for_long_stops_nobody_and_is_caught_up_with(tmp_path):
    state = State(tmp_path / "state.sqlite")
    state.add_spend(1.0, NOON)
    other = sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    state.add_spend(2.0, NOON)
    state.pin("talk", "small", NOON)
    assert state.spent(NOON) == (3.0, 3.0)
    assert state.faults == 2
    other.execute("COMMIT")
    other.close()
    state.add_spend(4.0, NOON)
    assert state.spent(NOON) == (7.0, 7.0)
    state.close()


@pytest.mark.parametrize("kind", ["no database", "a folder", "newer"])
def test_a_file_that_is_none_of_ours_is_refused_in_a_line(tmp_path, kind):
    path = tmp_path / "state.sqlite"
    if kind == "no database":
        path.write_text("something else entirely " * 100)
    elif kind == "a folder":
        path.mkdir()
    else:
        file = sqlite3.connect(path)
        file.execute("PRAGMA user_version = 7")
        file.close()
    with pytest.raises(ErpError, match=r"gateway\.state = .*cannot be opened"):
        State(path)
