"""How often equal contenders are told apart, and how often unequal ones are: many tables through `pair_up`."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from erp.evaluation.comparison.contenders import TestedRun
from erp.evaluation.comparison.pairs import pair_up

PANEL = ("scores.parquet", "skywork", ("a", "b"), "USD per prompt")
DRAWS = 1000


def contenders(reward, single, splits=1, in_group=1, more=0.0):
    """Runs of C routers with rewards (splits * N, C) on prompts that come in groups of ``in_group``."""
    runs, at = [], np.arange(len(reward) // splits)
    for split, part in enumerate(np.split(np.arange(len(reward)), splits)):
        for c, column in enumerate((reward[part] + more).T):
            runs.append(
                TestedRun(
                    Path(f"runs/r{c}-{split}"), PANEL, f"r{c}", "minilm", {}, str(split), split, 0,
                    at.astype(object), (at // in_group).astype(object), np.zeros((len(at), 2)), column,
                    np.full(len(at), 0.5), single[part],
                )
            )  # fmt: skip
    return runs


def plain(random, count):
    """Rewards that share the prompt's difficulty; 120 prompts."""
    hard = random.normal(size=(120, 1))
    return contenders(hard + random.normal(size=(120, count)), (hard + random.normal(size=(120, 1)))[:, 0])


def routed(random, count):
    """Every router sends three of four prompts to the same member, the others anywhere; rewards are 0 and 1."""
    right = (random.random((200, 4)) < random.beta(1, 1, size=(200, 1))).astype(float)
    sent = np.where(random.random((200, count)) < 0.75, 0, random.integers(0, 4, size=(200, count)))
    return contenders(np.take_along_axis(right, sent, axis=1), right[:, 0])


def pooled(random, count):
    """Two splits with prompts in common, whose rewards repeat in part, in groups of three."""
    prompt, group = random.normal(size=(90, count)), np.repeat(random.normal(size=(30, count)), 3, axis=0)
    reward = np.concatenate([prompt + group + 0.5 * random.normal(size=(90, count)) for _ in range(2)])
    single = np.concatenate([(prompt + group)[:, ::2].mean(axis=1)] * 2)
    return contenders(reward, single, splits=2, in_group=3)


MADE = {"plain": plain, "routed": routed, "pooled": pooled}


def share_told(make, count, tables, seed):
    """Share of tables in which a contender is told from the best, and in which anything is told at all."""
    random = np.random.default_rng(seed)
    best = every = 0
    for table in range(tables):
        pairs = pair_up(make(random, count), draws=DRAWS, seed=table)
        best += not set(pairs.contenders["vs_best"]) <= {"best", "not significant"}
        every += not set(pairs.pairs["verdict"]) <= {"not significant"}
    return best / tables, every / tables


def test_twelve_equal_contenders_are_rarely_told_apart():
    """Holm's correction over the differences to the best alone, which was picked on the same prompts, calls some
    worse in more than one such table of twenty."""
    best, _ = share_told(plain, 12, 100, 0)
    assert best <= 0.06


@pytest.mark.slow
@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize(("count", "tables"), [(3, 4000), (9, 3000), (20, 2000), (40, 1000)])
def test_equal_contenders_are_told_apart_in_one_table_of_twenty(kind, count, tables, record_property):
    best, every = share_told(MADE[kind], count, tables, 1)
    record_property("told from the best", best)
    record_property("told at all", every)
    print(f"{kind}, {count} contenders, {tables} tables: worse than the best {best:.3f}, anything {every:.3f}")
    assert best <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / tables)


def holm(p):
    """By its definition."""
    adjusted, worst = np.empty(len(p)), 0.0
    for k, at in enumerate(np.argsort(p)):
        adjusted[at] = worst = max(worst, min(1.0, (len(p) - k) * p[at]))
    return adjusted


def test_real_differences_are_found_as_often_as_by_holm_over_all_pairs_and_more():
    """Twelve routers, of which six are worse by 0.2 to 0.45 standard deviations; Holm's judge is the paired t-test."""
    random = np.random.default_rng(2)
    gains = np.array([0.0] * 6 + [-0.2, -0.25, -0.3, -0.35, -0.4, -0.45])
    own = judged = 0
    for table in range(40):
        hard = random.normal(size=(150, 1))
        reward = hard + gains + random.normal(size=(150, 12))
        found = pair_up(contenders(reward, hard[:, 0]), draws=DRAWS, seed=table).contenders
        own += (found["vs_best"] == "worse").sum()
        sides = [*combinations(range(12), 2)]
        p = [ttest_rel(reward[:, i], reward[:, j]).pvalue for i, j in sides]
        p += [ttest_rel(reward[:, i], hard[:, 0]).pvalue for i in range(12)]
        told, best = holm(np.array(p)) <= 0.05, reward.mean(axis=0).argmax()
        judged += sum(told[k] for k, side in enumerate(sides) if best in side)
    assert own >= judged > 0
