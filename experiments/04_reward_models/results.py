"""Every run of a sweep tested on the rewards of every reward model in it: python results.py <sweep.json> results.csv.

Three rows need no router: `best single` is the member of the best train mean by the reward model that is learnt from,
`observed` each test prompt's favourite by its observed mean, which no router can know, `random` any member.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from erp.compose import compose
from erp.config import validate
from erp.decisions.choice import choose
from erp.files import read_json
from erp.metrics.intervals import GroupBootstrap, Interval
from erp.programs import evaluate
from erp.runs import RunFolder

FACTS = ("agreement", "favourites_shared")


@dataclass(frozen=True, eq=False)
class Tested:
    """One run on the test prompts whose rewards by the reward model that scores are all known.

    Attributes:
        reward: prompt id x member.
        choice: by prompt id, the position of the member that the router takes at lambda = 0.
        group: by prompt id.
        own: position of the best single member by the train means of the reward model that scores.
        learnt: the same by the one that was learnt from.
        facts: what `erp evaluate` says of the two reward models.
    """

    reward: pd.DataFrame
    choice: pd.Series
    group: pd.Series
    own: int
    learnt: int
    facts: Mapping[str, float]


def main(sweep: str, results: str) -> None:
    """Write a row for each router and ordered pair of reward models, pooled over the splits."""
    runs: dict[tuple[str, int, str], Path] = {}  # by router, split seed, reward model
    for path in read_json(Path(sweep))["runs"]:
        run = read_json(RunFolder(Path(path)).results)["run"]
        runs[run["router"], run["split_seed"], run["reward_model"]] = Path(path)
    models = list(dict.fromkeys(model for _, _, model in runs))
    known: dict[tuple[str, str, str], list[pd.DataFrame]] = defaultdict(list)
    for router, seed in dict.fromkeys(key[:2] for key in runs):
        own = {model: tested(runs[router, seed, model], model, model) for model in models}
        for b in models:
            for a in models:
                here = own[a] if a == b else tested(runs[router, seed, a], a, b)
                for name, frame in per_prompt(here, own[a], own[b], router).items():
                    known[b, a, name].append(frame.assign(split=seed, **here.facts))
    rows = [
        {"learnt_from": a, "scored_by": b, "router": name, **summary(frames, crossed=a != b)}
        for (b, a, name), frames in sorted(known.items(), key=lambda item: item[0][:2])
    ]
    pd.DataFrame(rows).round(5).to_csv(results, index=False)


def tested(run: Path, learnt_from: str, scored_by: str) -> Tested:
    """The run as it was tested, or tested again by `erp evaluate` where another reward model scores."""
    folder, results = RunFolder(run), read_json(RunFolder(run).results)
    members, facts = results["run"]["members"], dict.fromkeys(FACTS, np.nan)
    learnt = own = results["routing"]["best_single"]["member"]
    if learnt_from != scored_by:
        container = compose("evaluate", ["run=here"])
        container |= {"run": str(run), "reward_model": {**container["reward_model"], "name": scored_by}}
        again, results = evaluate.run(validate("evaluate", container))
        folder = RunFolder(again)
        cross = results["audits"]["cross_reward_model"]
        own, facts = cross["own_best_single"]["member"], {name: cross[name] for name in FACTS}
    frame = pd.read_parquet(folder.predictions).query("split == 'test'")
    names = ["observed", "predicted", "predicted_cost"]
    wide = frame.pivot_table(index="prompt_id", columns="model", values=names, aggfunc="first", dropna=False)
    reward = wide["observed"][members].dropna()
    scores, costs = (wide[name].loc[reward.index, members].to_numpy() for name in ("predicted", "predicted_cost"))
    group = RunFolder(run).load_split().set_index("prompt_id")["group_key"].loc[reward.index]
    choice = pd.Series(choose(scores, costs, 0.0), reward.index)
    return Tested(reward, choice, group, members.index(own), members.index(learnt), facts)


def per_prompt(here: Tested, own_a: Tested, own_b: Tested, router: str) -> dict[str, pd.DataFrame]:
    """What is earned by B on every prompt: by the router that learnt from A, and by what needs no router."""
    ids = here.reward.index.intersection(own_a.reward.index).intersection(own_b.reward.index)
    reward, at = here.reward.loc[ids].to_numpy(), np.arange(len(ids))
    common = pd.DataFrame(
        {
            "prompt": ids, "group": here.group.loc[ids].to_numpy(), "single": reward[:, here.own],
            "oracle": reward.max(axis=1), "by_own": np.nan,
        }
    )  # fmt: skip
    return {
        router: common.assign(reward=reward[at, here.choice.loc[ids]], by_own=reward[at, own_b.choice.loc[ids]]),
        "best single": common.assign(reward=reward[:, here.learnt]),
        "observed": common.assign(reward=reward[at, own_a.reward.loc[ids].to_numpy().argmax(axis=1)]),
        "random": common.assign(reward=reward.mean(axis=1)),
    }


def summary(frames: Sequence[pd.DataFrame], crossed: bool) -> dict[str, float]:
    """Of all splits: gain over the best single, its share of the headroom, and the router that learnt from B itself."""
    rows = pd.concat(frames).drop_duplicates(["split", "prompt"])  # what needs no router comes with every router
    bootstrap = GroupBootstrap(pd.factorize(rows["group"])[0])
    gain, headroom = ((rows[name] - rows["single"]).to_numpy() for name in ("reward", "oracle"))
    found = {
        "splits": rows["split"].nunique(), "prompts": rows["prompt"].nunique(), "reward": rows["reward"].mean(),
        "best_single": rows["single"].mean(), **ends("gain", bootstrap.interval(gain)),
        **ends("of_headroom", bootstrap.ratios(gain[:, None], headroom)[0]),
        **rows.groupby("split")[list(FACTS)].first().mean(),
    }  # fmt: skip
    if crossed and rows["by_own"].notna().all():
        own = (rows["by_own"] - rows["single"]).to_numpy()
        found |= ends("less_own", bootstrap.interval(gain - own))
        if bootstrap.interval(own).low > 0:  # a share of nothing has no meaning
            found |= ends("kept", bootstrap.ratios(gain[:, None], own)[0])
    return found


def ends(name: str, interval: Interval) -> dict[str, float]:
    """An interval as three columns."""
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python results.py <sweep.json> results.csv")
    main(*sys.argv[1:])
