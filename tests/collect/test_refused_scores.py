"""Responses that a reward model refuses for what they are: asked once, not at every start, and their neighbours are."""

from __future__ import annotations

import errno
import os

import pytest

from erp.collect.store import Store
from tests.collect.commands import samples
from tests.engines.chat_server import ChatServer, completion, error

SMALL = "pool.members=[{name: small}]"
JUDGE = ["reward_model=judge", "reward_model.model=j", "reward_model.api_key_env=null", "+reward_model.retries=0"]


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


class Grader:
    """Refuses responses for good, or fails at them for now; remembers which it was asked about."""

    def __init__(self):
        self.refuses, self.fails, self.asked = set(), set(), []

    def __call__(self, body, number):
        text = body["messages"][-1]["content"].partition("<response>\n")[2].partition("\n</response>")[0]
        self.asked.append(text)
        if text in self.refuses:
            return error(400, f"{text} is too long")
        return error(500, "not now") if text in self.fails else completion("Score: 7")


@pytest.fixture
def graded(collect, tmp_path):
    """`graded(*overrides)` samples first, then collects with the judge; the grader, and what was asked meanwhile."""
    assert collect(SMALL, "steps=[sample]")[0] == 0
    grader = Grader()
    with ChatServer(grader) as server:

        def run(*more):
            grader.asked.clear()
            code, out, err = collect(SMALL, *JUDGE, f"reward_model.base_url={server.url}", *more)
            return code, out + err, sorted(grader.asked)

        yield grader, run


def responses(tmp_path, prompt_id):
    return samples(tmp_path, None).set_index("prompt_id")["response"].loc[prompt_id].tolist()


def test_a_refused_response_is_asked_once_unless_told(graded, tmp_path):
    grader, run = graded
    first = responses(tmp_path, "p1")[0]
    grader.refuses = {first}
    code, said, asked = run()
    assert code == 2
    assert f"1 of 7 prompts failed, such as by: 400: {first} is too long" in said
    assert asked.count(first) == 1
    code, said, asked = run()
    assert (code, asked) == (2, [])
    assert f"1 of 7 prompts failed, such as by: 400: {first} is too long" in said
    code, said, asked = run("max_failed=0.2")
    assert (code, asked) == (0, [])
    assert "1 failed prompts" in said
    assert len(samples(tmp_path, "judge").dropna()) == 7 * 3 - 1
    grader.refuses = set()
    assert run("retry_failed=true")[::2] == (0, [first])
    assert (samples(tmp_path, "judge")["reward"] == 7).all()
    assert not list((tmp_path / "table/failures").rglob("*.json"))


def test_what_every_call_is_refused_for_is_asked_again_once_it_is_mended(graded, tmp_path):
    grader, run = graded
    grader.refuses = set(samples(tmp_path, None)["response"])
    code, said, _ = run("retries=0")
    assert code == 2
    assert "nothing came of 3 units" in said
    grader.refuses = set()
    assert run()[0] == 0
    assert (samples(tmp_path, "judge")["reward"] == 7).all()


def test_its_neighbours_are_asked_when_they_fail_and_when_they_are_new(graded, tmp_path):
    grader, run = graded
    first, second, third = responses(tmp_path, "p1")
    grader.refuses, grader.fails = {first}, {second}
    code, _, asked = run("retries=1")
    assert code == 2
    assert (asked.count(first), asked.count(second), asked.count(third)) == (1, 2, 1)
    grader.fails = set()
    assert run("max_failed=0.2")[::2] == (0, [second])
    assert run("max_failed=0.2", "k=4")[0] == 0
    assert sorted(grader.asked) == sorted(responses(tmp_path, f"p{i}")[3] for i in range(7))
    assert len(samples(tmp_path, "judge").dropna()) == 7 * 4 - 1


def test_what_a_retry_got_before_it_was_cut_short_is_kept(graded, tmp_path, monkeypatch):
    grader, run = graded
    first = responses(tmp_path, "p1")[0]
    grader.refuses = {first}
    assert run()[0] == 2
    grader.refuses = set()
    write = Store._write

    def no_room(self, name, data):
        if name.startswith("rewards/judge/part"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, name, data)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "_write", no_room)
        assert run("retry_failed=true")[::2] == (2, [first])
    assert run()[::2] == (0, [])
    assert (samples(tmp_path, "judge")["reward"] == 7).all()
    assert not list((tmp_path / "table/failures").rglob("*.json"))


def test_a_response_that_was_edited_is_another_one(graded, tmp_path):
    grader, run = graded
    first = responses(tmp_path, "p1")[0]
    grader.refuses = {first}
    assert run("max_failed=0.2")[0] == 0
    store = Store(str(tmp_path / "table"))
    (part,) = (n for n in store.names("samples") if first in store.read_frame(f"samples/{n}")["response"].tolist())
    rows = store.read_frame(f"samples/{part}")
    store.write_frame(f"samples/{part}", rows.assign(response=rows["response"].replace(first, "short")))
    (tmp_path / "table/rewards/judge/manifest.json").unlink()
    assert run()[::2] == (0, ["short"])
