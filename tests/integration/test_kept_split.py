"""`split.from=<run>`: a table that has grown, and the split that its first run had."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from erp.table.texts import text_key
from tests.integration.tables import long_frame, results


def parts(folder) -> dict[str, str]:
    frame = pd.read_parquet(Path(folder) / "split.parquet")
    return dict(zip(frame["text_key"], frame["split"], strict=True))


@pytest.fixture
def runs(erp, table, quick) -> tuple[Path, list[str]]:
    """A run, and the arguments of another on the same table with a paraphrase of every second prompt."""
    options = [*quick, "figures=false"]
    answer = erp("train", *options)
    assert answer.code == 0, answer.err
    frame = long_frame()
    more = frame[frame["prompt"].isin(frame["prompt"].unique()[::2])]
    more = more.assign(prompt="Please: " + more["prompt"], prompt_id="again " + more["prompt_id"])
    pd.concat([frame, more]).to_parquet(table)
    return Path(answer.last), options


def test_a_run_on_a_grown_table_keeps_every_test_prompt(erp, runs):
    first, options = runs
    moved = erp("train", *options)
    assert moved.code == 0, moved.err
    old, hashed = parts(first), parts(moved.last)
    assert sum(old[key] != hashed[key] for key in old) > 10  # what the key is for
    answer = erp("train", *options, f"split.from={first}", "router=knn")
    assert answer.code == 0, answer.err
    now = parts(answer.last)
    assert {key: now[key] for key in old} == old
    assert len(now) > len(old)
    for text in long_frame()["prompt"].unique()[::2]:  # near-duplicates share a group
        assert now[text_key("Please: " + text)] in (old[text_key(text)], "unused")
    assert f"keep the part that they had in {first.name}" in " ".join(results(answer.last)["data"]["notes"])
    again = erp("evaluate", f"run={answer.last}")
    assert again.code == 0, again.err


def test_the_split_is_part_of_a_runs_name_and_its_path_is_not(erp, runs, tmp_path):
    first, options = runs
    made = erp("train", *options, f"split.from={first}")
    moved = shutil.copytree(first, tmp_path / "elsewhere" / first.name)
    again = erp("train", *options, f"split.from={moved}")
    assert again.last == made.last
    assert again.out.startswith("This run is finished already")
    frame = pd.read_parquet(moved / "split.parquet")
    swapped = {"train": "test", "test": "train", "validation": "validation"}
    frame.assign(split=frame["split"].map(swapped)).to_parquet(moved / "split.parquet")
    other = erp("train", *options, f"split.from={moved}")
    assert other.code == 0, other.err
    assert other.last != made.last
    assert parts(other.last) != parts(made.last)
    repeated = erp("train", f"config={made.last}/config.yaml")
    assert repeated.last == made.last


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["split.from=nowhere"], "split.from = "),
        (["split.from=nowhere"], "split.parquet cannot be read"),
        (["split.from=nowhere", "split.by=table"], "allowed are by=group and by=prompt"),
        (["split.from=nowhere", "split.by=category", "split.category=a"], "allowed are by=group and by=prompt"),
    ],
)
def test_what_is_no_run_and_a_split_that_has_its_own_parts_are_refused(erp, quick, options, said):
    answer = erp("train", *quick, *options)
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err
