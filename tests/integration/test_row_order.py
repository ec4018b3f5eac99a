"""The order of a file's rows means nothing: any permutation gives the same run, number for number."""

import numpy as np
import pandas as pd
import pytest

import erp as package
from erp.table.read import read_table
from tests.integration.tables import long_frame, results


def ragged_frame(seed=0):
    """One to five samples a cell without a number, prompts without ids, every fifth text twice under other case."""
    frame = pd.concat([long_frame(prompts=120, samples=5, seed=seed, noise=1.0)], ignore_index=True)
    rng = np.random.default_rng(seed)
    cells = frame.groupby(["prompt", "model"], sort=False)
    wanted = cells.ngroup().map(pd.Series(rng.integers(1, 6, cells.ngroups)))
    frame = frame[cells.cumcount() < wanted].drop(columns=["sample", "prompt_id"])
    again = frame[frame["prompt"].isin(frame["prompt"].unique()[::5])]
    again = again.assign(prompt=again["prompt"].str.upper(), reward=again["reward"] + rng.normal(size=len(again)))
    return pd.concat([frame, again], ignore_index=True)


@pytest.mark.parametrize(
    "options",
    [
        ["router=knn", "router.k=3", "labels.samples=2"],
        ["router=ridge", "labels.samples=1", "labels.prompts=40"],
        ["router=quantile", "trainer.max_epochs=3", "target.kind=mean"],
        ["router=cluster_mean", "policy=guarantee", "policy.reference=m0", "policy.tolerated_loss=1"],
    ],
    ids=lambda options: options[0],
)
def test_any_order_of_the_rows_gives_the_same_run(tmp_path, monkeypatch, options):
    monkeypatch.setenv("ERP_CACHE", str(tmp_path / "cache"))
    frame, path = ragged_frame(), tmp_path / "scores.parquet"
    members = sorted(frame["model"].unique())
    options = [text.replace("=m0", f"={members[0]}") for text in options]
    found = []
    rng = np.random.default_rng(0)
    for i, rows in enumerate([frame, frame.sort_values("reward"), frame.iloc[rng.permutation(len(frame))]]):
        rows.to_parquet(path, index=False)
        run = package.train([
            "data=table", f"data.path={path}", "backbone=hashing", "tracking=off", "bootstrap.draws=100",
            "figures=false", "trainer.progress=false", f"out={tmp_path / str(i)}", *options,
        ])  # fmt: skip
        said = results(run.folder)
        del said["run"]["seconds"], said["run"]["fit_seconds"]
        found.append((run.folder.name, said, pd.read_parquet(run.folder / "predictions.parquet")))
    for name, said, predictions in found[1:]:
        assert name == found[0][0]
        assert said == found[0][1]
        pd.testing.assert_frame_equal(predictions, found[0][2], check_exact=True)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_samples_without_a_number_are_numbered_by_what_they_hold(tmp_path, suffix):
    frame = ragged_frame()
    read = []
    for i, rows in enumerate(
        [frame, frame.sort_values("reward", ascending=False), frame.sample(frac=1, random_state=0)]
    ):
        path = tmp_path / f"{i}.{suffix}"
        if suffix == "parquet":
            rows.to_parquet(path, index=False)
        elif suffix == "csv":
            rows.to_csv(path, index=False)
        else:
            rows.to_json(path, orient="records", lines=True)
        read.append(read_table(path))
    for table in read[1:]:
        pd.testing.assert_frame_equal(table.samples, read[0].samples, check_exact=True)
        pd.testing.assert_frame_equal(table.prompts, read[0].prompts)
