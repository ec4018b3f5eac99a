"""Runs by hand as a comparison takes them: what they earned prompt by prompt, and where they stand."""

from pathlib import Path

import numpy as np

from erp.evaluation.comparison.contenders import KnownRun, TestedRun, panel_facts, panel_key
from erp.evaluation.comparison.pairs import pair_up
from erp.findings import Place


def known(content, splits=None):
    """A place for every run; its settings are those of its router, its split is by its seed unless it is given."""
    splits = splits or [str(run["run"]["split_seed"]) for _, run in content]
    runs = [
        KnownRun(folder, panel_key(run), run["run"]["router"], "minilm", {}, split, 0, i)
        for i, ((folder, run), split) in enumerate(zip(content, splits, strict=True))
    ]
    return pair_up(runs).places


def placed(content, splits=None):
    """One panel for each of its names, one contender for each router; splits are by seed unless they are given."""
    keys = sorted({panel_key(run) for _, run in content}, key=str)
    splits = splits or [str(run["run"]["split_seed"]) for _, run in content]
    return {
        folder: Place(panel_facts(keys.index(panel_key(run)) + 1, panel_key(run)), run["run"]["router"], split)
        for (folder, run), split in zip(content, splits, strict=True)
    }


PANEL = ("scores.parquet", "skywork", ("a", "b"), "USD per prompt")


def run(
    reward, router="ridge", settings=None, split=0, seed=0, single=0.0, ids=None, groups=None, observed=None,
    panel=PANEL, backbone="minilm", folder=None, left_out=None,
):  # fmt: skip
    """A run whose prompts are p0, p1, ... and whose groups are single prompts, unless told otherwise."""
    reward = np.asarray(reward, dtype=float)
    ids = [f"p{i}" for i in range(len(reward))] if ids is None else ids
    return TestedRun(
        Path(folder or f"runs/{router}-{split}-{seed}"), panel, router, backbone, settings or {}, f"{left_out} {split}",
        split, seed, np.array(ids, dtype=object), np.array(ids if groups is None else groups, dtype=object),
        np.zeros((len(reward), 2)) if observed is None else observed, reward, np.full(len(reward), 0.5),
        np.broadcast_to(single, reward.shape).astype(float),
    )  # fmt: skip
