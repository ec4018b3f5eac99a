"""What every import does with rows: missing ones, repeats, texts that differ, growth, and nothing half-written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erp.errors import ErpError
from erp.importers.base import Importer
from erp.importers.importing import import_files
from erp.table.read import read_table
from erp.table.splits import split_table


class Rows(Importer):
    """A source whose files hold rows as they are: an object on each line."""

    patterns = ("*.jsonl",)

    def rows(self, files, ledger):
        for file in files:
            members = set()
            for number, line in file.lines():
                try:
                    row = json.loads(line)
                except ValueError:
                    ledger.fault("a line is no JSON", f"{file.name} line {number}")
                    continue
                members.add(row.get("model"))
                yield row
            ledger.origin(file, members - {None}, harness="rows")


class Traces(Rows):
    """The same of prompts that each were answered by whom somebody chose."""

    observational = True


def put(path: Path, *rows: dict | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def row(prompt_id="a", model="m", reward: object = 1.0, **more) -> dict:
    return {"prompt_id": prompt_id, "prompt": f"text of {prompt_id}", "model": model, "reward": reward, **more}


def imported(path, out, source=None, **options):
    return import_files(source or Rows(), str(path), out, about={"source": "rows", "options": {}}, **options)


def refused(path, out, source=None, **options) -> str:
    before = sorted(out.rglob("*")), sorted(name.name for name in out.parent.iterdir())
    with pytest.raises(ErpError) as caught:
        imported(path, out, source, **options)
    assert (sorted(out.rglob("*")), sorted(name.name for name in out.parent.iterdir())) == before
    return str(caught.value)


def test_errors_and_what_nobody_scored_are_missing_and_counted_apart(tmp_path):
    path = put(
        tmp_path / "a.jsonl",
        row(category="x"),
        row("b", error="timeout", reward=0.0, category="x"),
        row("c", reward=None, unscored="the grader refused", category="y"),
        row("d", reward=float("nan"), category="y"),
        row(model="n", reward=0.5, category="x"),
    )
    found = imported(path, tmp_path / "t")
    about = found.manifest["import"]
    assert about["missing"] == {"timeout": 1, "the grader refused": 1, "there is no score": 1}
    assert about["coverage"] == {
        "m": {"x": {"scored": 1, "missing": 0, "errors": 1}, "y": {"scored": 0, "missing": 2, "errors": 0}},
        "n": {"x": {"scored": 1, "missing": 0, "errors": 0}},
    }
    table = read_table(found.folder)
    assert table.samples["reward"].notna().sum() == 2
    assert any("3 imported rows have no score" in note for note in table.notes)


def test_equal_repeats_are_read_once_and_others_contradict(tmp_path):
    path = put(tmp_path / "a.jsonl", row(), row(), row(response="one"), row("b", reward=0.5))
    assert "two different rows of one prompt and member; repeats=samples" in refused(path, tmp_path / "t")
    put(path, row(), row(), row("b", reward=0.5))
    assert imported(path, tmp_path / "t").manifest["import"]["left_out"] == {"rows that repeat another wholly": 1}
    found = imported(path, tmp_path / "u", repeats="samples")
    assert found.manifest["import"]["samples_per_cell"] == [1, 2]


def test_numbered_samples_keep_their_numbers_and_must_not_clash(tmp_path):
    path = put(tmp_path / "a.jsonl", row(sample=3), row(sample=7, reward=0.5), row(sample=7, reward=0.5))
    frame = pd.read_parquet(imported(path, tmp_path / "t").folder / "samples")
    assert frame["sample"].tolist() == [3, 7]
    put(path, row(sample=3), row(sample=3, reward=0.5))
    assert "two different rows of one prompt, member and sample" in refused(path, tmp_path / "u")
    put(path, row(sample=3), row(reward=0.5))
    assert "without a sample number beside rows that have one" in refused(path, tmp_path / "u")


def test_members_that_were_asked_differently_are_shown_and_refused(tmp_path):
    rows = [row(str(i), name) for i in range(5) for name in ("m", "n")]
    for i in range(5):
        rows[2 * i + 1]["prompt"] = f"Think first. text of {i}"
    path = put(tmp_path / "a.jsonl", *rows)
    said = refused(path, tmp_path / "t")
    assert "different texts of 5 documents: n (5)" in said
    assert said.count("were asked") == 1 + 3
    assert "Think first. text of 0" in said
    assert "prompts=from:m" in said
    for member, text in (("m", "text of 0"), ("n", "Think first. text of 0")):
        table = read_table(imported(path, tmp_path / member, prompts=f"from:{member}").folder)
        assert table.prompts["prompt"][0] == text
        assert len(table.samples) == 10
    assert "there is no such member; members are m, n" in refused(path, tmp_path / "t", prompts="from:x")
    assert "allowed is from:<member>" in refused(path, tmp_path / "t", prompts="m")


def test_whose_texts_are_taken_is_said_on_the_command_line(tmp_path):
    """``prompts`` is a config group of `erp collect`, and a plain key of this command."""
    from erp import cli

    path = put(tmp_path / "a.jsonl", {"prompt": "a", "m": 1, "n": 0}, {"prompt": "b", "m": 0, "n": 1})
    words = ["import", f"path={path}", "source.members=[m,n]", f"out={tmp_path / 't'}"]
    assert cli.main([*words, "prompts=from:m"]) == 0
    assert json.loads((tmp_path / "t" / "manifest.json").read_text())["import"]["options"]["prompts"] == "from:m"
    assert cli.main([*words, "prompts=from:x"]) == 2


def test_prompts_that_the_asker_lacks_are_left_out_and_counted(tmp_path):
    path = put(tmp_path / "a.jsonl", row("a", "n"), row("a", "m"), row("b", "n"))
    found = imported(path, tmp_path / "t", prompts="from:m")
    assert found.manifest["prompts"] == 1
    assert list(found.manifest["import"]["left_out"].values()) == [1]


def test_one_id_under_two_texts_and_one_text_under_two_ids(tmp_path):
    path = put(tmp_path / "a.jsonl", row(), {**row(), "prompt": "another", "sample": 1})
    assert "one prompt_id stands for two texts" in refused(path, tmp_path / "t")
    put(path, row(), {**row("b"), "prompt": "text of a"})
    found = imported(path, tmp_path / "t")
    assert any(
        "2 prompts share their text with one of another id, for example a, b" in n for n in found.manifest["notes"]
    )
    put(path, row(category="x"), row(model="n", category="y"))
    assert "two values of category" in refused(path, tmp_path / "u")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{not json", "a line is no JSON: "),
        ({**row("b"), "model": None}, "model: missing"),
        ({**row("b"), "model": 3}, "model: not a text"),
        ({**row("b"), "prompt": " "}, "prompt: missing"),
        ({**row("b"), "reward": "good"}, "reward: not a number"),
        ({**row("b"), "reward": [1, 2]}, "reward: not a number"),
        ({**row("b"), "response": [1, 2]}, "response: not a text"),
        ({**row("b"), "completion_tokens": -3}, "completion_tokens: allowed"),
        ({**row("b"), "cost_usd": "free"}, "cost_usd: not a number"),
        ({**row("b"), "n_samples": 0}, "n_samples: allowed"),
        ({**row("b"), "sample": 1.5}, "sample: allowed"),
    ],
)
def test_what_cannot_be_understood_stops_the_import_or_is_left_out_counted(tmp_path, bad, reason):
    path = put(tmp_path / "a.jsonl", row(), bad, row("c"))
    said = refused(path, tmp_path / "t")
    assert "1 rows: " in said
    assert reason.rstrip(": ") in said
    assert "strict=false" in said
    found = imported(path, tmp_path / "t", strict=False)
    assert found.manifest["prompts"] == 2
    assert sum(found.manifest["import"]["not_understood"].values()) == 1
    assert any("1 imported rows were left out as not understood" in note for note in read_table(found.folder).notes)


def test_a_response_that_is_a_number_is_written_out(tmp_path):
    path = put(tmp_path / "a.jsonl", row(response=42), row("b", response="two"), row("c"))
    frame = pd.read_parquet(imported(path, tmp_path / "t").folder / "samples")
    assert frame["response"].fillna("").tolist() == ["42", "two", ""]


def test_what_only_some_rows_say_of_a_prompt_is_said_of_it(tmp_path):
    """A file without categories beside one that has them, null beside a label: nothing contradicts nothing."""
    path = put(
        tmp_path / "a.jsonl",
        *[row(str(i), "m", category="x" if i % 2 else None, group=None) for i in range(5)],
        *[row(str(i), "n", category="y" if i % 2 == 0 else None, group=f"g{i}") for i in range(5)],
        *[row(str(i), "o") for i in range(5)],
    )
    found = imported(path, tmp_path / "t")
    prompts = read_table(found.folder).prompts.set_index("prompt_id")
    assert prompts["category"].to_dict() == {"0": "y", "1": "x", "2": "y", "3": "x", "4": "y"}
    assert prompts["group"].to_dict() == {str(i): f"g{i}" for i in range(5)}
    each = {"x": {"scored": 2, "missing": 0, "errors": 0}, "y": {"scored": 3, "missing": 0, "errors": 0}}
    assert found.manifest["import"]["coverage"] == dict.fromkeys("mno", each)
    put(path, row(category=None), row(model="n", category="x"), row(model="o", category="y"))
    assert "two values of category; first: prompt_id a, member o: 'y'" in refused(path, tmp_path / "u")


def test_labels_and_responses_are_texts_or_numbers(tmp_path):
    bad = {"response": {"x": 1}, "category": ["x"], "prompt_id": [1], "finish_reason": {}}
    for name, value in bad.items():
        path = put(tmp_path / "a.jsonl", row("b"), {**row(), name: value})
        assert f"1 rows: {name}: not a text; allowed are strings and numbers" in refused(path, tmp_path / "t")
    put(path, {**row(7), "response": 42, "category": 3}, row("8", response="x"))
    prompts = read_table(imported(path, tmp_path / "t").folder).prompts
    assert prompts["prompt_id"].tolist() == ["7", "8"]
    assert prompts["category"][0] == "3"
    assert pd.read_parquet(tmp_path / "t" / "samples")["response"].tolist() == ["42", "x"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.fixed_dictionaries({
    "prompt_id": st.sampled_from(["a", "b", "c"]), "model": st.sampled_from(["m", "n", None]),
    "reward": st.sampled_from([0.0, 1.0, None, "good"]), "error": st.sampled_from([None, None, "timeout"]),
    "sample": st.sampled_from([None, 0, 1]), "category": st.sampled_from([None, "x", "y"]),
}), min_size=1, max_size=12), st.sampled_from(["error", "samples"]), st.sampled_from([None, "from:m"]))  # fmt: skip
def test_every_row_is_counted_once(tmp_path_factory, rows, repeats, prompts):
    """Scored, missing, error, left out, not understood: together as many as were read, and as many as are written."""
    folder = tmp_path_factory.mktemp("counts")
    path = put(folder / "a.jsonl", *[{"prompt": f"text of {row['prompt_id']}", **row} for row in rows])
    try:
        found = imported(path, folder / "t", strict=False, repeats=repeats, prompts=prompts)
    except ErpError:
        return
    about = found.manifest["import"]
    cells = [cell for of in about["coverage"].values() for cell in of.values()]
    scored, missing, errors = (sum(cell[state] for cell in cells) for state in ("scored", "missing", "errors"))
    assert missing + errors == sum(about["missing"].values())
    assert errors == about["missing"].get("timeout", 0)
    out = sum(about["left_out"].values()) + sum(about["not_understood"].values())
    assert scored + missing + errors + out == len(rows)
    samples = read_table(found.folder).samples
    assert len(samples) == found.manifest["samples"] == scored + missing + errors
    assert samples["reward"].notna().sum() == scored


def test_nothing_scored_is_no_table(tmp_path):
    path = put(tmp_path / "a.jsonl", row(reward=None, unscored="no grader"))
    assert "not one row has a score: no grader (1)" in refused(path, tmp_path / "t")
    put(path)
    assert "not one row has a score" in refused(path, tmp_path / "t")


@pytest.mark.parametrize("size", [1e101, -1e-101])
def test_scores_beyond_all_bounds_are_no_table(tmp_path, size):
    path = put(tmp_path / "a.jsonl", row(reward=size))
    assert "the largest score is" in refused(path, tmp_path / "t")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_input_gives_the_same_bytes_and_more_files_a_larger_table_with_the_same_splits(tmp_path):
    logs = tmp_path / "logs"
    put(logs / "b.jsonl", *[row(str(i), "m", i / 40) for i in range(40)])
    first = contents(imported(logs, tmp_path / "t").folder)
    assert contents(imported(logs, tmp_path / "t").folder) == first
    assert contents(imported(logs, tmp_path / "u").folder) == first
    parts = split_of(tmp_path / "t")
    put(logs / "a.jsonl", *[row(str(i), "n", 1 - i / 40) for i in range(60)])
    grown = imported(logs, tmp_path / "t")
    assert (grown.manifest["prompts"], grown.manifest["members"]) == (60, ["m", "n"])
    now = split_of(tmp_path / "t")
    assert {name: now[name] for name in parts} == parts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "t", "u"]
    (logs / "b.jsonl").unlink()
    assert "a table grows, it does not shrink" in refused(logs, tmp_path / "t")


def split_of(folder: Path) -> dict[str, str]:
    table = read_table(folder)
    split = split_table(table, by="group", seed=0, test=0.5, validation=0.1, near_duplicates=None)
    return dict(zip(table.prompts["prompt_id"], split.parts, strict=True))


def test_it_takes_the_place_of_no_other_thing(tmp_path):
    path = put(tmp_path / "a.jsonl", row())
    put(tmp_path / "t" / "mine.txt", "precious")
    assert "holds something that no import made" in refused(path, tmp_path / "t")
    imported(path, tmp_path / "u")
    with pytest.raises(ErpError, match=r"options\.filter = None, and this one has strict; give another"):
        import_files(Rows(), str(path), tmp_path / "u", about={"source": "rows", "options": {"filter": "strict"}})


def test_the_manifest_keeps_where_scores_come_from(tmp_path):
    import hashlib

    put(tmp_path / "logs" / "m" / "a.jsonl", row())
    put(tmp_path / "logs" / "n.jsonl", row(model="n"))
    files = imported(tmp_path / "logs", tmp_path / "t").manifest["import"]["files"]
    assert files == [
        {
            "file": name,
            "members": [member],
            "harness": "rows",
            "sha256": hashlib.sha256((tmp_path / "logs" / name).read_bytes()).hexdigest(),
        }
        for name, member in (("m/a.jsonl", "m"), ("n.jsonl", "n"))
    ]


def test_observational_rows_are_marked_and_trained_on_by_request_alone(tmp_path, monkeypatch):
    from erp import cli

    rows = [row(str(i), "mn"[i % 2], (i % 7) / 7, category="xy"[i % 3 == 0]) for i in range(80)]
    imported(put(tmp_path / "a.jsonl", *rows), tmp_path / "t", Traces())
    assert read_table(tmp_path / "t").observational
    assert any(note.startswith("observational") for note in read_table(tmp_path / "t").notes)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERP_CACHE", str(tmp_path / "cache"))
    words = ["train", "data=table", f"data.path={tmp_path / 't'}", "backbone=hashing", "backbone.dimensions=64",
             "tracking=off", "figures=false", "bootstrap.draws=100", "cost=none"]  # fmt: skip
    assert cli.main(words) == 2
    assert cli.main([*words, "data.observational=true"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert "observational" in (folder / "report.md").read_text()


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    path = put(tmp_path / "a.jsonl", row())
    monkeypatch.setattr(os, "replace", None)
    monkeypatch.setattr(Path, "replace", _full)
    with pytest.raises(OSError, match="No space left"):
        imported(path, tmp_path / "t")
    assert sorted(name.name for name in tmp_path.iterdir()) == ["a.jsonl"]


def _full(self, target):
    raise OSError(28, "No space left on device", str(target))
