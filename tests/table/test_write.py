"""The folder form: a round trip, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erp.errors import ErpError
from erp.table.read import read_table
from erp.table.select import select_members
from erp.table.synthetic import Synthetic
from erp.table.write import write_table


@pytest.fixture
def folder(tmp_path):
    write_table(Synthetic(prompts=12, members=3, samples=2, missing=0.2).draw()[0], tmp_path / "t")
    return tmp_path / "t"


def fault(path, **options) -> str:
    with pytest.raises(ErpError) as caught:
        read_table(path, **options)
    return str(caught.value)


def edit(path, change) -> None:
    frame = pd.read_parquet(path)
    change(frame).to_parquet(path, index=False)


def test_round_trip_in_every_order_and_form(tmp_path):
    table = Synthetic(prompts=20, members=3, samples=3, missing=0.2).draw()[0]
    write_table(table, tmp_path / "t")
    again = read_table(tmp_path / "t")
    pd.testing.assert_frame_equal(again.prompts, table.prompts)
    pd.testing.assert_frame_equal(again.samples, table.samples)
    assert (again.members, again.reward_model, again.notes) == (table.members, table.reward_model, table.notes)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t"]
    frame = table.samples.drop(columns=["prompt", "member", "sample"]).assign(
        prompt_id=table.prompts["prompt_id"].to_numpy()[table.samples["prompt"]],
        prompt=table.prompts["prompt"].to_numpy()[table.samples["prompt"]],
        category=table.prompts["category"].to_numpy()[table.samples["prompt"]],
        model=np.array(table.members)[table.samples["member"]],
        reward_model="synthetic",
    )
    for seed in range(3):
        frame.sample(frac=1, random_state=seed).to_parquet(tmp_path / "long.parquet")
        assert read_table(tmp_path / "long.parquet").fingerprint() == table.fingerprint()
    reordered = select_members(table, table.members[::-1])
    assert reordered.fingerprint() == table.fingerprint()


texts = st.text(min_size=1, max_size=8, alphabet=st.characters(exclude_categories=["Cs"])).filter(str.strip)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_table_keeps_its_fingerprint(tmp_path_factory, data):
    count = data.draw(st.integers(1, 6))
    ids = data.draw(st.lists(texts, min_size=count, max_size=count, unique=True))
    own = {i: (data.draw(texts), data.draw(st.none() | texts), data.draw(st.none() | texts)) for i in ids}
    cells = data.draw(st.lists(st.tuples(st.sampled_from(ids), texts), min_size=1, max_size=12))
    # Beyond these sizes squares cannot be summed, and reading says so.
    finite = st.floats(-1e100, 1e100).filter(lambda reward: reward == 0 or abs(reward) >= 1e-100)
    rewards = [data.draw(finite if i == 0 else finite | st.just(float("nan"))) for i in range(len(cells))]
    frame = pd.DataFrame({
        "prompt_id": [i for i, _ in cells], "model": [m for _, m in cells], "reward": rewards,
        "prompt": [own[i][0] for i, _ in cells], "category": [own[i][1] for i, _ in cells],
        "group": [own[i][2] for i, _ in cells],
        "cost_usd": data.draw(st.lists(st.none() | st.floats(0, 9), min_size=len(cells), max_size=len(cells))),
    })  # fmt: skip
    folder = tmp_path_factory.mktemp("any")
    frame.astype({"cost_usd": float}).to_parquet(folder / "t.parquet")
    table = read_table(folder / "t.parquet")
    write_table(table, folder / "t")
    assert read_table(folder / "t").fingerprint() == table.fingerprint()
    frame.iloc[::-1].astype({"cost_usd": float}).to_parquet(folder / "t.parquet")
    assert read_table(folder / "t.parquet").fingerprint() == table.fingerprint()


@pytest.mark.parametrize("column", ["prompt", "category", "group", "split", "reward", "cost_usd", "model", "n_samples"])
def test_the_fingerprint_sees_every_column(tmp_path, column):
    frame = pd.DataFrame({
        "prompt_id": ["a", "b"], "prompt": ["x", "y"], "category": ["c", "d"], "group": ["g", "h"],
        "split": ["train", "test"], "model": ["m", "m"], "reward": [1.0, 2.0], "cost_usd": [0.1, 0.2],
        "n_samples": [1, 2],
    })  # fmt: skip
    frame.to_parquet(tmp_path / "t.parquet")
    before = read_table(tmp_path / "t.parquet").fingerprint()
    frame[column] = frame[column].to_numpy()[::-1] if column != "model" else ["m", "n"]
    frame.to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").fingerprint() != before


def test_writing_twice_is_harmless_and_another_table_is_refused(folder):
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    write_table(Synthetic(prompts=12, members=3, samples=2, missing=0.2).draw()[0], folder)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    with pytest.raises(ErpError, match="not empty and does not hold this table"):
        write_table(Synthetic(prompts=13).draw()[0], folder)


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "t").mkdir()
    write_table(Synthetic(prompts=5).draw()[0], tmp_path / "t")
    assert len(read_table(tmp_path / "t").prompts) == 5


def test_parts_in_any_order_and_lower_is_better(folder):
    whole = read_table(folder)
    (scores,) = (folder / "rewards").iterdir()
    frame = pd.read_parquet(scores / "part-00000.parquet").sample(frac=1, random_state=1)
    frame.iloc[:10].to_parquet(scores / "part-00000.parquet", index=False)
    frame.iloc[10:].to_parquet(scores / "part-00001.parquet", index=False)
    assert read_table(folder).fingerprint() == whole.fingerprint()
    (scores / "manifest.json").write_text(json.dumps({"reward_model": "cost/rm", "higher_is_better": False}))
    negated = read_table(folder, reward_model="cost/rm")
    assert negated.samples["reward"].tolist() == (-whole.samples["reward"]).tolist()
    assert negated.notes[0] == "lower is better for cost/rm: its rewards were negated"


def test_sampled_but_not_scored_is_missing_and_unsampled_prompts_are_left_out(folder):
    whole = read_table(folder)
    (scores,) = (folder / "rewards").iterdir()
    edit(scores / "part-00000.parquet", lambda f: f.iloc[2:])
    edit(folder / "prompts.parquet", lambda f: pd.concat([f, f.iloc[:1].assign(prompt_id="new")]))
    table = read_table(folder)
    assert len(table.samples) == len(whole.samples)
    assert table.samples["reward"].isna().sum() == 2
    assert len(table.prompts) == 12
    assert "1 of 13 prompts have no sample and were left out" in table.notes


def test_unfinished_collections(folder):
    (scores,) = (folder / "rewards").iterdir()
    (scores / "manifest.json").unlink()
    assert "no reward model has scored it (not scored to the end: synthetic; erp collect goes on with it)" in fault(
        folder
    )
    (folder / "manifest.json").unlink()
    assert "holds no manifest.json, which is written last: it is no reward table" in fault(folder)
    (folder / "collect.json").write_text("{}")
    assert "erp collect has not sampled it to the end; give its command again" in fault(folder)


def test_reward_models_are_listed(folder):
    assert "reward_model.name = grm: not in" in fault(folder, reward_model="grm")
    other = folder / "rewards" / "org%2Fgrm"
    other.mkdir()
    (other / "manifest.json").write_text("{}")
    assert "they are org/grm, synthetic; name one" in fault(folder)
    (other / "manifest.json").write_text("{")
    assert "the manifest cannot be read" in fault(folder)


def test_keys_must_fit_together(folder):
    edit(folder / "prompts.parquet", lambda f: pd.concat([f.iloc[1:], f.iloc[2:3]]))
    edit(folder / "samples" / "part-00000.parquet", lambda f: f.iloc[:-1])
    text = fault(folder)
    assert "prompts.parquet, row 11, columns prompt_id = (synthetic-0000002): stands there twice" in text
    assert "samples name 1 prompts that prompts.parquet lacks: synthetic-0000000" in text
    assert "1 rewards have no sample" in text


def test_broken_parts(folder):
    edit(folder / "samples" / "part-00000.parquet", lambda f: f.drop(columns="sample"))
    assert "no column sample" in fault(folder)
    (folder / "samples" / "part-00000.parquet").write_bytes(b"broken")
    assert "cannot be read" in fault(folder)
    (folder / "samples" / "part-00000.parquet").unlink()
    assert "no part-*.parquet" in fault(folder)
    assert "a folder has fixed column names" in fault(folder, columns={"reward": "x"})
