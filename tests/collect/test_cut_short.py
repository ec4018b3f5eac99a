"""Writing stops anywhere between two files, as by a kill or a full disk: the same command then makes the same table."""

from __future__ import annotations

import errno
import os

import pandas as pd
import pytest

from erp import cli
from erp.collect.store import Store
from tests.collect.commands import command, samples
from tests.engines.chat_server import ChatServer, completion, error

MEMBER = "pool.members=[{name: small}]"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert cli.main(command(folder, "k=4", MEMBER)) == 0
    return samples(folder)


def table(url):
    store, keys = Store(url), ["prompt_id", "model", "sample"]
    rows, scores = (
        pd.concat([store.read_frame(f"{folder}/{name}") for name in store.names(folder) if name.startswith("part-")])
        for folder in ("samples", "rewards/letters")
    )
    return rows.merge(scores, on=keys, how="left", validate="1:1").sort_values(keys).reset_index(drop=True)


@pytest.mark.parametrize("out", ["disk", "memory"])
@pytest.mark.parametrize("file", ["collect.json", "failures/samples", "samples/part", "log/samples", "rewards/"])
def test_a_disk_that_is_full_between_two_files(tmp_path, monkeypatch, capsys, whole, out, file):
    out = str(tmp_path) if out == "disk" else f"memory://{tmp_path.name}"
    diaries = f"engine.diary={tmp_path}/diary", f"reward_model.diary={tmp_path}/scored"
    assert cli.main(command(tmp_path, "k=2", MEMBER, f"out={out}", *diaries)) == 0
    write, full = Store._write, []

    def no_room(self, name, data):
        if full or name.startswith(file):
            full.append(name)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, name, data)

    fails = "engine.fail=[bread]", "max_failed=1", "retries=0"
    again = command(tmp_path, "k=4", MEMBER, f"out={out}", *diaries, *fails)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "_write", no_room)
        assert cli.main(again) == 2
    assert "No space left" in capsys.readouterr().err
    (tmp_path / "mended").touch()
    assert cli.main([*again, "retry_failed=true"]) == 0, capsys.readouterr().err
    pd.testing.assert_frame_equal(table(f"{out}/table"), whole)


def test_what_a_retry_of_refused_prompts_got_before_it_was_killed_is_kept(tmp_path, monkeypatch):
    """Their failures are final: nobody would ask for them again."""
    monkeypatch.setenv("NO_PROXY", "*")
    refuses = True

    def answer(body, number):
        refused = refuses and body["messages"][-1]["content"] == "bread"
        return error(400, "too long") if refused else completion("a" * (body["seed"] % 5))

    write = Store._write

    def no_room(self, name, data):
        if name.startswith("samples/part"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, name, data)

    with ChatServer(answer) as server:
        arguments = command(
            tmp_path,
            "engine=openai",
            "engine.api_key_env=null",
            f"engine.base_url={server.url}",
            MEMBER,
            "max_failed=1",
        )
        assert cli.main(arguments) == 0
        assert len(samples(tmp_path)) == 6 * 3
        refuses = False
        with monkeypatch.context() as patched:
            patched.setattr(Store, "_write", no_room)
            assert cli.main([*arguments, "retry_failed=true"]) == 2
        asked = len(server.calls)
        assert cli.main(arguments) == 0
        assert len(server.calls) == asked
    assert len(samples(tmp_path)) == 7 * 3
    assert not (tmp_path / "table/failures/samples").is_dir() or not list(
        (tmp_path / "table/failures/samples").iterdir()
    )


def test_greedy_copies_are_of_the_response_that_is_there(tmp_path, capsys):
    """A deterministic server is a promise that few keep: what was asked for once is not asked for again."""
    arguments = command(tmp_path, "pool.decoding={temperature: 0}", MEMBER)
    assert cli.main([*arguments, "k=2"]) == 0
    assert cli.main([*arguments, "k=4", "engine.diary=/nowhere/diary"]) == 0, capsys.readouterr().err
    rows = samples(tmp_path)
    assert len(rows) == 7 * 4
    assert len(rows[["prompt_id", "response"]].drop_duplicates()) == 7


def test_what_was_counted_is_counted_once(tmp_path, monkeypatch):
    """The log of a unit is written, and its journal is still there: what it tells stands in the log already."""
    write = Store._write

    def no_room(self, name, data):
        if name.startswith("rewards/letters/part"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, name, data)

    for k, texts in ((2, 7 * 2), (4, 7 * 4)):  # in a table that grows, too
        arguments = command(tmp_path, f"k={k}", MEMBER)
        for _ in range(2):
            with monkeypatch.context() as patched:
                patched.setattr(Store, "_write", no_room)
                assert cli.main(arguments) == 2
        assert cli.main(arguments) == 0
        manifest = Store(str(tmp_path / "table")).read_json("rewards/letters/manifest.json")
        assert manifest["counts"] == {"scored": texts}
        assert len(samples(tmp_path)["reward"].dropna()) == texts
