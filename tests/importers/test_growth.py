"""What an import takes the place of, and what interrupted, killed and simultaneous ones leave."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from erp import import_table
from erp.errors import ErpError
from erp.table.read import read_table
from tests.importers.test_importing import Rows, contents, imported, put, refused, row

WAITING = """
import signal, sys, time
from tests.importers.test_importing import Rows, imported

class Slow(Rows):
    def rows(self, files, ledger):
        yield from super().rows(files, ledger)
        print("read", flush=True)
        time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background it is ignored
imported(sys.argv[1], __import__("pathlib").Path(sys.argv[2]), Slow())
"""


def started(path: Path, out: Path) -> subprocess.Popen[str]:
    """An import that has read its rows, and waits."""
    house = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(house), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen([sys.executable, "-c", WAITING, path, out], stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.DEVNULL, env=environment)  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "read\n"
    return process


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_import_at_a_time_writes_a_table_and_a_killed_one_leaves_nothing_to_the_next(tmp_path):
    path = put(tmp_path / "a.jsonl", row())
    process = started(path, tmp_path / "t")
    try:
        assert "another process is writing it; wait" in refused(path, tmp_path / "t")
        imported(path, tmp_path / "u")
    finally:
        process.kill()
        process.communicate()
    assert names(tmp_path) == [".t.writing", "a.jsonl", "u"]
    imported(path, tmp_path / "t")
    assert names(tmp_path) == ["a.jsonl", "t", "u"]
    assert contents(tmp_path / "t") == contents(tmp_path / "u")


def test_an_interrupted_import_leaves_what_was_there(tmp_path):
    path = put(tmp_path / "a.jsonl", row())
    before = contents(imported(path, tmp_path / "t").folder)
    process = started(path, tmp_path / "t")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert names(tmp_path) == ["a.jsonl", "t"]
    assert contents(tmp_path / "t") == before


def test_a_table_that_a_killed_import_had_put_aside_comes_back(tmp_path):
    path = put(tmp_path / "logs" / "a.jsonl", row())
    before = contents(imported(tmp_path / "logs", tmp_path / "t").folder)
    (tmp_path / ".t.writing").mkdir()
    (tmp_path / "t").rename(tmp_path / ".t.writing" / "earlier")
    path.rename(tmp_path / "logs" / "b.jsonl")  # such an import is refused: it is of another file
    with pytest.raises(ErpError, match="does not shrink"):
        imported(tmp_path / "logs", tmp_path / "t")
    assert contents(tmp_path / "t") == before
    assert names(tmp_path) == ["logs", "t"]


class Unread(Rows):
    """A source that must not be read."""

    def rows(self, files, ledger):
        raise AssertionError


def test_what_is_in_the_way_is_told_before_anything_is_read(tmp_path):
    path = put(tmp_path / "a.jsonl", row())
    put(tmp_path / "file", "precious")
    with pytest.raises(ErpError, match="no import made"):
        imported(path, tmp_path / "file", Unread())
    found = imported(path, tmp_path / "t").folder
    (found / "rewards" / "another").mkdir()
    put(found / "mine.txt", "precious")
    assert "holds mine.txt, rewards/another too" in refused(path, tmp_path / "t", Unread())
    put(found / "mine.jsonl", row())
    assert "the table would take its place" in refused(found / "mine.jsonl", tmp_path / "t", Unread())


def test_another_name_for_the_score_is_another_table(tmp_path):
    path = put(tmp_path / "a.jsonl", row())
    imported(path, tmp_path / "t", reward="accuracy")
    assert "holds an import with reward = accuracy, and this one has f1" in refused(path, tmp_path / "t", reward="f1")
    imported(path, tmp_path / "t", reward="accuracy")


def test_a_table_within_the_folder_that_it_is_made_of_is_not_read_again(tmp_path, monkeypatch):
    (tmp_path / "w.csv").write_text("prompt,small,large\na,1,2\n")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        found = import_table("wide", ".", members=["small", "large"])
        assert found.manifest["samples"] == 2
    assert found.folder == tmp_path / "tables" / "imported"


def test_a_link_to_a_table_stays_one(tmp_path):
    path = put(tmp_path / "logs" / "a.jsonl", row())
    imported(tmp_path / "logs", tmp_path / "large disk" / "t")
    (tmp_path / "t").symlink_to(tmp_path / "large disk" / "t")
    shutil.copy(path, path.with_name("b.jsonl"))
    put(path.with_name("b.jsonl"), row("b"))
    imported(tmp_path / "logs", tmp_path / "t")
    assert (tmp_path / "t").is_symlink()
    assert len(read_table(tmp_path / "large disk" / "t").prompts) == 2
