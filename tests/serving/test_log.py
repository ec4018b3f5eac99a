"""The decision log: whole lines, parts, and what is kept of a prompt."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import resource
import signal
import time

import pytest

from erp.config.serve import Log
from erp.errors import ErpError
from erp.serving.log import DecisionLog

FORK = multiprocessing.get_context("fork")


def lines(folder):
    parts = [part.read_text() for part in sorted(folder.glob("*.ndjson"))]
    assert all(part.endswith("\n") for part in parts if part), "no line is torn"
    return [json.loads(line) for part in parts for line in part.splitlines()]


def test_a_decision_and_its_feedback_are_lines(tmp_path):
    log = DecisionLog(Log(folder=str(tmp_path)))
    log.write({"id": "1", "prompt": "häll\ud800o\n", "rewards": {"a": 0.5, "b": float("nan")}, "order": ("a", "b")})
    log.feedback("1", 0.25)
    log.close()
    decision, feedback = lines(tmp_path)
    digest = hashlib.sha256("häll\ud800o\n".encode("utf-8", "surrogatepass")).hexdigest()
    assert decision == {
        "format": 1,
        "kind": "decision",
        "id": "1",
        "rewards": {"a": 0.5, "b": None},
        "order": ["a", "b"],
        "prompt_sha256": digest,
    }
    assert (feedback["kind"], feedback["id"], feedback["reward"]) == ("feedback", "1", 0.25)
    assert abs(feedback["time"] - time.time()) < 60


def test_the_text_is_kept_only_where_it_is_asked_for(tmp_path):
    log = DecisionLog(Log(folder=str(tmp_path), prompts=True))
    log.write({"id": "1", "prompt": "hello"})
    log.write({"id": "2", "prompt": None})
    log.close()
    assert [line.get("prompt") for line in lines(tmp_path)] == ["hello", None]


def test_parts_are_of_bounded_size_and_sort_by_time(tmp_path):
    log = DecisionLog(Log(folder=str(tmp_path), part_mb=0.001))
    for i in range(100):
        log.write({"id": str(i), "model": "m" * (i % 7) * 300})
    log.close()
    parts = list(tmp_path.glob("*.ndjson"))
    assert len(parts) > 20
    assert all(part.stat().st_size <= 1000 or part.read_text().count("\n") == 1 for part in parts)
    assert [line["id"] for line in lines(tmp_path)] == [str(i) for i in range(100)]


def test_nothing_is_written_where_there_is_no_folder_and_no_empty_part_stays(tmp_path):
    log = DecisionLog(Log())
    log.write({"id": "1"})
    log.feedback("1", 1.0)
    log.close()
    DecisionLog(Log(folder=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_torn_line_is_cut_off_at_the_start_but_not_one_that_a_worker_is_writing(tmp_path):
    first, second, third = (tmp_path / f"20261129T23000{i}.000000Z-0123abcd.ndjson" for i in range(3))
    first.write_text('{"id":"1"}\n{"id":"2"}\n{"id' + "x" * 100_000)
    second.write_text('{"id": "never whole')
    third.write_text("")
    alive = DecisionLog(Log(folder=str(tmp_path)))
    alive.write({"id": "3"})
    part = next(part for part in tmp_path.glob("*.ndjson") if part not in (first, second, third))
    part.write_text('{"id":"half')
    DecisionLog(Log(folder=str(tmp_path))).close()
    assert part.read_text() == '{"id":"half'
    alive.close()
    part.unlink(missing_ok=True)
    assert [line["id"] for line in lines(tmp_path)] == ["1", "2"]


def test_a_file_that_is_no_part_is_left_as_it_is(tmp_path):
    (tmp_path / "mine.ndjson").write_text('{"id": 1}\n{"id": 2}')
    DecisionLog(Log(folder=str(tmp_path))).close()
    assert (tmp_path / "mine.ndjson").read_text() == '{"id": 1}\n{"id": 2}'


def _write(folder, pipe):
    log = DecisionLog(Log(folder=str(folder), prompts=True, part_mb=3))
    i = 0
    while True:
        i += 1
        log.write({"id": str(i), "prompt": "p" * (1_000_000 if i % 2 else 10)})
        pipe.send(i)


def test_a_worker_that_is_killed_at_any_moment_leaves_whole_lines(tmp_path):
    moments, told = random.Random(1), []
    for _ in range(10):
        theirs, ours = FORK.Pipe(duplex=False)
        worker = FORK.Process(target=_write, args=(tmp_path, ours))
        worker.start()
        ours.close()
        last = theirs.recv()
        until = time.monotonic() + moments.uniform(0, 0.05)
        while time.monotonic() < until:
            last = theirs.recv()
        worker.kill()
        worker.join(60)
        try:
            while True:
                last = theirs.recv()
        except EOFError:
            theirs.close()
        DecisionLog(Log(folder=str(tmp_path))).close()
        told.append(last)
        found = len(lines(tmp_path))
        assert sum(told) <= found <= sum(told) + 1
        told[-1] += found - sum(told)


def test_a_disk_that_fails_loses_a_line_and_tears_none(tmp_path):
    def full():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        log = DecisionLog(Log(folder=str(tmp_path)))
        log.write({"id": "1"})
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        log.write({"id": "2", "model": "m" * 2000})
        log.write({"id": "3"})
        assert log.lost == 1
        log.close()

    worker = FORK.Process(target=full)
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    assert [line["id"] for line in lines(tmp_path)] == ["1", "3"]


def test_a_folder_that_cannot_be_one_is_refused_in_a_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ErpError, match=r"gateway\.log\.folder = .*cannot be written to"):
        DecisionLog(Log(folder=str(tmp_path / "file")))
