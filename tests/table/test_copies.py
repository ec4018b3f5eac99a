"""Copies are no samples: what is refused, folded, kept or marked, against tables whose rows are known."""

import numpy as np
import pandas as pd
import pytest

from erp.errors import ErpError
from erp.table.read import read_table
from erp.table.select import select_members


def frame(k=1, prompts=60, kind="score", seed=0, members=("a", "b", "c")) -> pd.DataFrame:
    """K drawn rows a cell, without sample numbers: 0/1 rewards alone, scores from 1 to 10, or scores with decimals."""
    random = np.random.default_rng(seed)
    rows = []
    for prompt in range(prompts):
        for member in members:
            p = random.beta(0.7, 0.7)
            for _ in range(k):
                reward = {
                    "binary": float(random.random() < p),
                    "one to ten": float(np.clip(round(random.normal(3 + 5 * p, 1.2)), 1, 10)),
                    "score": random.normal(p, 0.5),
                }[kind]
                rows.append((f"prompt {prompt}", member, reward))
    return pd.DataFrame(rows, columns=["prompt", "model", "reward"])


def read(rows, tmp_path, **options):
    rows.to_parquet(tmp_path / "t.parquet", index=False)
    return read_table(tmp_path / "t.parquet", **options)


@pytest.mark.parametrize("kind", ["binary", "one to ten"])
@pytest.mark.parametrize("k", [1, 2, 3, 10])
@pytest.mark.parametrize("seed", range(3))
def test_equal_marks_are_samples(tmp_path, kind, k, seed):
    rows = frame(k, kind=kind, seed=seed)
    table = read(rows, tmp_path)
    assert len(table.samples) == len(rows)
    assert not table.suspects


@pytest.mark.parametrize("kind", ["binary", "one to ten", "score"])
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("times", [2, 3])
def test_a_table_that_stands_there_several_times_is_refused_or_folded(tmp_path, kind, k, times):
    rows = frame(k, kind=kind)
    again = pd.concat([rows] * times)
    with pytest.raises(ErpError) as caught:
        read(again, tmp_path)
    (line,) = caught.value.faults
    assert f"{len(again) - len(rows):,} of {len(again):,} rows repeat an earlier row" in line
    assert "data.copies=fold" in line
    folded = read(again, tmp_path, copies="fold")
    assert folded.fingerprint() == read(rows, tmp_path).fingerprint()
    assert folded.notes[0].startswith(f"{len(again) - len(rows):,} of {len(again):,} rows repeat")
    kept = read(again.sample(frac=1, random_state=1), tmp_path, copies="keep")
    assert len(kept.samples) == len(again)


def test_some_rows_that_were_logged_twice(tmp_path):
    rows = frame(3)
    again = pd.concat([rows, rows.iloc[[5, 70, 71]].assign(logged="again")])  # in a column that is not read
    with pytest.raises(ErpError, match=r"row 540: 3 of 543 rows repeat an earlier row \(prompt, model, reward\)"):
        read(again, tmp_path)
    assert read(again, tmp_path, copies="fold").fingerprint() == read(rows, tmp_path).fingerprint()
    marks = frame(1, kind="binary", prompts=80)
    tokens = marks.assign(completion_tokens=np.random.default_rng(1).integers(20, 900, len(marks)))
    with pytest.raises(
        ErpError, match=r"4 of 244 rows repeat an earlier row \(prompt, model, reward, completion_tokens\)"
    ):
        read(pd.concat([tokens, tokens.iloc[:4]]), tmp_path)


def test_one_of_two_responses_tells_that_marks_are_not_one_row(tmp_path):
    rows = frame(2, kind="binary").assign(reward=1.0)
    rows.loc[::7, "reward"] = 0.0
    texts = rows.assign(response=[f"the answer to {i} is so and so" for i in range(len(rows))])
    assert not read(texts, tmp_path).suspects
    with pytest.raises(ErpError, match="2 of 362 rows repeat an earlier row"):
        read(pd.concat([texts, texts.iloc[:2]]), tmp_path)


def test_copies_are_looked_for_within_one_reward_model(tmp_path):
    rows = frame(1, kind="binary")
    both = pd.concat([rows.assign(reward_model="x"), rows.assign(reward_model="y")])
    assert len(read(both, tmp_path, reward_model="x").samples) == len(rows)


def test_a_row_logged_twice_with_its_number_can_be_folded(tmp_path):
    rows = frame(2).assign(sample=np.tile([0, 1], 180))
    again = pd.concat([rows, rows.iloc[:3]])
    with pytest.raises(ErpError, match=r"the same sample twice.*read once with data\.copies=fold"):
        read(again, tmp_path)
    assert read(again, tmp_path, copies="fold").fingerprint() == read(rows, tmp_path).fingerprint()


def test_numbered_samples_that_are_one_response_are_named(tmp_path):
    rows = frame(1).loc[lambda f: f.index.repeat(4)].reset_index(drop=True)
    rows["sample"] = rows.groupby(["prompt", "model"]).cumcount()
    genuine = rows["model"] == "b"
    rows.loc[genuine, "reward"] += np.random.default_rng(2).normal(size=genuine.sum())
    table = read(rows, tmp_path)
    assert dict(table.suspects) == dict.fromkeys("ac", "all samples of a prompt are equal in 60 of 60 cells")
    assert not select_members(table, ["b"]).suspects


def test_a_table_doubled_and_numbered_anew_is_named(tmp_path):
    rows = pd.concat([frame(4, kind="binary")] * 2)
    rows["sample"] = rows.groupby(["prompt", "model"]).cumcount()
    assert set(read(rows, tmp_path).suspects) == {"a", "b", "c"}
