"""The README's table of what the experiments found, made from their results: python headlines.py [README.md].

Every number is read from a results.csv; the words around them are fixed, and say nothing of what comes out. Given a
file, the lines between its marks are replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


Rows = Iterator[tuple[str, str, str]]


def rows() -> Rows:
    """Folder, question, and what was measured."""
    yield from of_routing()
    yield from of_what_is_predicted()
    yield from of_what_changes()


def of_routing() -> Rows:
    """What a router earns beside what anybody can have."""
    routing, pairs = results("03_routing"), results("03_routing", "pairs.csv")
    ridge, check = one(routing, contender="ridge", reward_model="yes_logit"), one(routing, contender="ridge")
    yield (
        "03_routing",
        "The paper's router, a ridge: reward minus that of the best single member; minus that of the best constant of "
        "equal cost",
        f"`yes_logit` {interval(ridge, 'gain')}; {interval(ridge, 'equal_cost')}. `verifier` "
        f"{interval(check, 'gain')}; {interval(check, 'equal_cost')}",
    )
    behind = [less(pairs[pairs["reward_model"] == m], "category_mean", "ridge") for m in ("yes_logit", "verifier")]
    yield (
        "03_routing",
        "Category mean, which is told the task, minus the ridge",
        f"`yes_logit` {interval(behind[0], 'gain')}; `verifier` {interval(behind[1], 'gain')}",
    )
    larger = results("01_routers", "llmrouter9.csv")
    names = {
        "auto": "`auto`",
        "zooter": "`zooter`",
        "knn": "kNN",
        "ridge": "the ridge",
    }
    yield (
        "01_routers",
        "Gain over the best single member on a larger table: LLMRouter's, nine LLMs, 14 benchmarks, "
        f"{larger['prompts'].max():,} prompts",
        "; ".join(
            [f"category mean {interval(one(larger, contender='category_mean, category=given'), 'gain')}"]
            + [f"{said} {interval(one(larger, contender=name), 'gain')}" for name, said in names.items()]
        ),
    )


def of_what_is_predicted() -> Rows:
    """How well, of which reward model and which members, and by which encoder."""
    pooled = results("02_predictability")
    shares = [one(pooled, member="pooled", reward_model=m) for m in ("yes_logit", "verifier")]
    yield (
        "02_predictability",
        "Share of the predictable variance that the ridge explains",
        f"`yes_logit` {share(shares[0], 'r2_corrected')}; `verifier` {share(shares[1], 'r2_corrected')}",
    )
    cross = one(results("04_reward_models"), learnt_from="yes_logit", scored_by="verifier", router="ridge")
    yield (
        "04_reward_models",
        "Routed by `yes_logit`, scored by `verifier`: gain over the best single member",
        interval(cross, "gain"),
    )
    members = results("05_pools").query("of == 'member'").sort_values("loss_without", ascending=False)
    yield (
        "05_pools",
        "What the pool loses without one member (`verifier`): the one it misses most; the next",
        "; ".join(f"`{row['name']}` {interval(row, 'loss_without')}" for _, row in members.head(2).iterrows()),
    )
    mpnet = one(results("06_backbones"), backbone="mpnet", reward_model="verifier")
    yield (
        "06_backbones",
        "An encoder five times as large (mpnet minus MiniLM, `verifier`): R^2; gain",
        f"{interval(mpnet, 'r2_less')}; {interval(mpnet, 'gain_less')}",
    )


def of_what_changes() -> Rows:
    """Other labels, a new member, other tasks, rewards that are seen."""
    budget = one(results("08_labels"), name="twice the prompts, half the samples")
    yield (
        "08_labels",
        "Twice the prompts with half the samples each (`verifier`): R^2; reward",
        f"{interval(budget, 'r2_less')}; {interval(budget, 'reward_less')}",
    )
    joins = [one(results("07_new_member", file), labels=64, method="auto", member="all") for file in FILES]
    yield (
        "07_new_member",
        "A new member known from 64 scored prompts: reward lost to the best choice by `erp extend`, minus that lost "
        "by a ridge fitted on those 64 alone (below 0 is better); here; on LLMRouter's table",
        "; ".join(interval(row, "less_scratch") for row in joins),
    )
    unseen = one(results("09_shift"), router="ridge", category="all", reward_model="yes_logit")
    yield (
        "09_shift",
        "Gain of the ridge by `yes_logit` on tasks that it was trained on; on tasks that it never saw",
        f"{interval(unseen, 'gain_seen')}; {interval(unseen, 'gain_unseen')}",
    )
    seen = results("12_rewards_at_run_time").query("at == 'own' and policy == 'reservation'")
    yield (
        "12_rewards_at_run_time",
        "Rewards seen before deciding whether to ask again, by reservation values: reward minus that of the ridge at "
        "equal cost; minus that of the plain cascade",
        ". ".join(
            f"`{name}` {interval(one(seen, reward_model=name), 'less_router')}; "
            f"{interval(one(seen, reward_model=name), 'less_cascade')}"
            for name in ("yes_logit", "verifier")
        ),
    )


FILES = ("results.csv", "llmrouter9.csv")


def results(folder: str, file: str = "results.csv") -> pd.DataFrame:
    """A table that an experiment wrote."""
    return pd.read_csv(HERE / folder / file)


def one(frame: pd.DataFrame, **where: object) -> pd.Series:
    """The row with these values; by the reward model `verifier` where none is named and there are several."""
    if "reward_model" in frame and len(frame["reward_model"].unique()) > 1:
        where = {"reward_model": "verifier", **where}
    for column, value in where.items():
        frame = frame[frame[column] == value]
    if len(frame) != 1:
        raise SystemExit(f"{where}: {len(frame)} rows, not one")
    return frame.iloc[0]


def less(pairs: pd.DataFrame, first: str, second: str) -> pd.Series:
    """The difference of two contenders as a gain, whichever of them stands first in the table."""
    columns = {"gain": "difference", "gain_low": "low", "gain_high": "high"}
    if ((pairs["first"] == first) & (pairs["second"] == second)).any():
        found = one(pairs, first=first, second=second)
        return pd.Series({name: found[column] for name, column in columns.items()})
    turned = less(pairs, second, first)
    return pd.Series({"gain": -turned["gain"], "gain_low": -turned["gain_high"], "gain_high": -turned["gain_low"]})


def interval(row: pd.Series, column: str) -> str:
    """A difference with its interval, +.065 (.033 to .098): bold where that leaves out 0."""
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    text = f"{short(row[column], '+')} ({short(low)} to {short(high)})"
    return f"**{text}**" if low > 0 or high < 0 else text


def share(row: pd.Series, column: str) -> str:
    """A share with its interval, in percent."""
    return f"{row[column]:.0%} ({row[f'{column}_low']:.0%} to {row[f'{column}_high']:.0%})"


def short(value: float, sign: str = "-") -> str:
    """Three decimals without a leading zero."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1)


def table() -> str:
    """The whole table."""
    lines = ["| question | measured, with its 95% interval |", "|---|---|"]
    return "\n".join(
        [*lines, *(f"| {asked} ([{folder[:2]}](experiments/{folder})) | {found} |" for folder, asked, found in rows())]
    )


def main(file: str | None) -> None:
    """Print the table, or put it into a file."""
    if file is None:
        print(table())
        return
    path = Path(file)
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
