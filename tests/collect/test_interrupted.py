"""Ctrl-C, or an error, while answers wait to be looked at: what has come is kept, what was under way is asked again."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from erp import cli
from erp.collect.store import Store
from tests.collect.commands import command, samples
from tests.engines.chat_server import ChatServer, Reply, completion

AT_ONCE, NEEDED, INTERRUPTED, TERMINATED = 4, 7 * 2 * 3, 130, 143


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


class Pressed:
    """Ctrl-C at a call; that call and those after it hang until it was heard."""

    def __init__(self, at, then, number=signal.SIGINT):
        self.at, self.then, self.heard, self.signal = at, then, threading.Event(), number

    def __call__(self, body, number):
        if number == self.at and not self.heard.is_set():
            os.kill(os.getpid(), self.signal)
        if number >= self.at:
            self.heard.wait(10)
        return self.then(body, number)


def said(body, number):
    return completion(f"{body['messages'][-1]['content']} {body['seed']}")


def interrupted(server, answer, arguments):
    """Run until Ctrl-C, then again; the number of calls of both."""
    assert cli.main(arguments) == INTERRUPTED
    answer.heard.set()
    assert cli.main(arguments) == 0
    return len(server.calls)


@pytest.mark.parametrize("block", [2, 7])
def test_ctrl_c_loses_no_answer_that_has_come(tmp_path, block):
    answer = Pressed(20, said)
    with ChatServer(answer) as server:
        arguments = command(tmp_path, "engine=unhurried", f"engine.base_url={server.url}", f"block={block}")
        assert interrupted(server, answer, [*arguments, "steps=[sample]"]) <= NEEDED + AT_ONCE
    assert len(samples(tmp_path, None)) == NEEDED
    assert not list((tmp_path / "table/failures").rglob("*.json"))


def test_sigterm_loses_no_answer_that_has_come(tmp_path):
    """With it schedulers ask a job to end; what is left of its time is enough to write down what has come."""
    reached, heard = threading.Event(), threading.Event()

    def answer(body, number):
        if number >= 20 and not heard.is_set():
            reached.set()
            heard.wait(10)
        return said(body, number)

    with ChatServer(answer) as server:
        arguments = command(tmp_path, "engine=unhurried", f"engine.base_url={server.url}", "steps=[sample]")
        with subprocess.Popen([sys.executable, "-m", "erp", *arguments], text=True, stderr=subprocess.PIPE) as process:
            reached.wait(60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == TERMINATED
            heard.set()
            assert process.stderr.read() == "erp collect: terminated; the same command goes on from what is finished\n"
        assert cli.main(arguments) == 0
        assert len(server.calls) <= NEEDED + AT_ONCE
    assert len(samples(tmp_path, None)) == NEEDED


def test_ctrl_c_loses_no_verdict_that_has_come(tmp_path):
    assert cli.main(command(tmp_path, "steps=[sample]")) == 0
    answer = Pressed(20, lambda body, number: completion("Score: 7"))
    with ChatServer(answer) as server:
        arguments = command(tmp_path, "reward_model=unhurried", f"reward_model.base_url={server.url}", "block=2")
        assert interrupted(server, answer, arguments) <= NEEDED + AT_ONCE
    assert (samples(tmp_path, "unhurried")["reward"] == 7).all()


def test_work_that_was_ended_is_not_taken_for_done_where_somebodys_handler_returns(tmp_path):
    """As the handlers of a job scheduler, or of a program that calls ours, may do."""
    assert cli.main(command(tmp_path, "steps=[sample]")) == 0
    answer, noted = Pressed(20, lambda body, number: completion("Score: 7"), signal.SIGTERM), []
    before = signal.signal(signal.SIGTERM, lambda number, _: noted.append(number))
    try:
        with ChatServer(answer) as server:
            arguments = command(tmp_path, "reward_model=unhurried", f"reward_model.base_url={server.url}", "block=2")
            assert cli.main(arguments) == TERMINATED
            assert noted == [signal.SIGTERM]
            assert not (tmp_path / "table/rewards/unhurried/manifest.json").exists()
            answer.heard.set()
            assert cli.main(arguments) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(samples(tmp_path, "unhurried")) == NEEDED


def test_ctrl_c_loses_no_first_score_of_a_server(tmp_path):
    """Numbers outside of 0 to 1 are no probabilities: nothing has to be waited for."""
    assert cli.main(command(tmp_path, "steps=[sample]", "block=7")) == 0
    answer = Pressed(8, lambda body, number: Reply([[{"score": 2.5}] for _ in body["inputs"]]))
    with ChatServer(answer) as server:
        served = ["api=tei", "model=org/rm", f"base_url={server.url.removesuffix('/v1')}", "batch=1", "tokenizer=null"]
        more = [f"reward_model.{one}" for one in (*served, f"concurrency={AT_ONCE}")]
        arguments = command(tmp_path, "reward_model=served", *more, "block=7")
        assert interrupted(server, answer, arguments) <= NEEDED + AT_ONCE
    assert (samples(tmp_path, "served")["reward"] == 2.5).all()


@pytest.mark.parametrize("out", ["disk", "memory"])
def test_an_error_loses_no_answer_that_has_come(tmp_path, monkeypatch, out):
    write, many, failed = Store._write, threading.Event(), []

    def answer(body, number):
        if number >= 20:
            many.set()
            if not failed:
                threading.Event().wait(0.3)
        return said(body, number)

    def no_log(self, name, data):
        if name.startswith("log/samples") and not failed:
            many.wait(10)
            failed.append(name)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, name, data)

    monkeypatch.setattr(Store, "_write", no_log)
    out = str(tmp_path) if out == "disk" else f"memory://{tmp_path.name}"
    with ChatServer(answer) as server:
        arguments = command(tmp_path, "engine=unhurried", f"engine.base_url={server.url}", f"out={out}")
        assert cli.main([*arguments, "steps=[sample]"]) == 2
        assert cli.main([*arguments, "steps=[sample]"]) == 0
        assert len(server.calls) <= NEEDED + AT_ONCE
