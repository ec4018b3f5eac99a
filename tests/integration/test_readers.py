"""A format of files is read by a table, a prompt set and `erp route` from one place."""

import io
import json

import pandas as pd
import pyarrow.feather
import pytest

from erp import cli
from erp.build import build
from erp.collect.prompts.base import PromptSet
from erp.table.read import read_table
from erp.table.readers.base import Reader
from erp.table.readers.known import READERS, SUFFIXES
from tests.integration.tables import long_frame

FRAME = pd.DataFrame(
    {"prompt_id": ["007", "8"], "prompt": ["one", "two"], "model": ["a", "a"], "reward": [0.5, 1.0], "category": "x"}
)


class Feather(Reader):
    """A format that a test adds."""

    name = "feather"
    suffixes = (".feather",)

    def rows(self, named, stream, where, choose):
        for number, row in enumerate(pyarrow.feather.read_table(io.BytesIO(stream.read())).to_pylist()):
            yield f"{where}row {number}", row


@pytest.fixture
def feather(monkeypatch):
    monkeypatch.setitem(READERS, "feather", Feather())
    monkeypatch.setitem(SUFFIXES, ".feather", "feather")


def test_a_format_of_ones_own_is_one_reader(feather, tmp_path, run, erp):
    """One class with `rows`: a table, prompts and requests are read of it, by the ending of a file's name."""
    long_frame(prompts=60).to_feather(tmp_path / "t.feather")
    long_frame(prompts=60).to_parquet(tmp_path / "t.parquet")
    tables = [read_table(tmp_path / f"t.{ending}").fingerprint() for ending in ("feather", "parquet")]
    assert tables[0] == tables[1]
    FRAME.to_feather(tmp_path / "in.feather")
    answers = [
        json.loads(line)
        for line in erp("route", f"run={run}", "input=in.feather", "output=json").out.split("\n")
        if line
    ]
    assert [answer["prompt"] for answer in answers] == ["one", "two"]


def test_prompts_are_read_by_the_same_readers(feather, tmp_path, monkeypatch):
    FRAME.to_feather(tmp_path / "p.feather")
    monkeypatch.setattr("erp.collect.prompts.files.Text.kind", "feather")
    found = build(
        {"_target_": "erp.collect.prompts.files.Text", "path": str(tmp_path / "p.feather")}, PromptSet, key="prompts"
    )
    assert [(p.prompt_id, p.text, p.category) for p in found.prompts()] == [("007", "one", "x"), ("8", "two", "x")]


def test_a_format_without_columns_holds_no_table(tmp_path, capsys):
    (tmp_path / "t.txt").write_text("one\n")
    assert cli.main(["describe", "data=table", f"data.path={tmp_path / 't.txt'}", "backbone=hashing"]) == 2
    known = ".parquet or .pq or .csv or .tsv or .jsonl or .ndjson or .json"
    assert f"not a known kind of file; known are {known}, each also as .gz" in capsys.readouterr().err
