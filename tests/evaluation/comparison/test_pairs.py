"""Paired differences, judged by scipy, by brute force on the same draws, and by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from erp.evaluation.comparison.contenders import KnownRun
from erp.evaluation.comparison.pairs import CONTENDERS, PAIRS, pair_up
from erp.findings import Place
from tests.contenders import PANEL, run


def one(pairs, first, second):
    found = pairs.pairs
    (row,) = found[(found["first"] == first) & (found["second"] == second)].to_dict("records")
    return row


def test_a_difference_by_hand():
    pairs = pair_up([run([1, 1, 1, 0, 1, 1, 1], single=[1, 0, 0, 0, 0, 1, 0]), run([0, 0, 1, 1, 0, 0, 0], "knn")])
    row = one(pairs, "ridge", "knn")
    assert row["difference"] == pytest.approx((6 - 2) / 7)
    assert (row["rows"], row["prompts"], row["groups"]) == (7, 7, 7)
    # ridge alone is right on 5 prompts, knn alone on 1: 2 (1 + 6) / 2^6
    assert row["mcnemar_p"] == pytest.approx(14 / 64)
    assert row["mcnemar_why_not"] is None
    assert one(pairs, "ridge", "best single")["difference"] == pytest.approx(4 / 7)
    best = pairs.contenders.iloc[0]
    assert (best["contender"], best["runs"], best["splits"], best["seeds"]) == ("ridge", 1, 1, 1)
    assert best["reward"] == pytest.approx(6 / 7)
    assert best["best_single"] == pytest.approx(2 / 7)
    assert best["cost"] == 0.5
    assert best["gain"] == pytest.approx(4 / 7)


def pooled(shift=0.25):
    """Two routers on two splits that share prompts, in groups of up to three prompts; prompts in no order."""
    random = np.random.default_rng(4)
    made = []
    for split in (0, 1):
        at = random.permutation(60)[:40]
        for router, more in (("ridge", shift), ("knn", 0.0)):
            order = random.permutation(40)
            reward = random.normal(size=40) + more
            made.append(
                run(reward, router, split=split, ids=[f"p{i}" for i in at[order]],
                    groups=[f"g{i // 3}" for i in at[order]])
            )  # fmt: skip
    return made


def test_brute_force_on_the_same_draws():
    draws, level = 400, 0.9
    runs = pooled()
    rows = {}  # (split, prompt) -> difference
    for ridge, knn in (runs[:2], runs[2:]):
        other = dict(zip(knn.ids, knn.reward, strict=True))
        for prompt, reward in zip(ridge.ids, ridge.reward, strict=True):
            rows[ridge.split_seed, prompt] = reward - other[prompt]
    groups = [f"g{i}" for i in range(20)]
    of = {group: [v for (_, prompt), v in rows.items() if f"g{int(prompt[1:]) // 3}" == group] for group in groups}
    found = one(pair_up(runs, draws=draws, seed=7, level=level), *("ridge", "knn"))
    assert found["difference"] == pytest.approx(np.mean(list(rows.values())))
    assert (found["rows"], found["groups"]) == (80, sum(bool(v) for v in of.values()))
    # Groups are numbered as their prompts first appear in the first run.
    first_seen = list(dict.fromkeys(g for r in runs for g in r.groups))
    order = [g for g in first_seen if of[g]]
    taken = np.random.default_rng(7).integers(0, len(order), size=(draws, len(order)))
    means = [np.mean(np.concatenate([of[order[g]] for g in draw])) for draw in taken]
    freedom = len(order) - 1
    tail = stats.norm.cdf(math.sqrt(1 + 1 / freedom) * stats.t.ppf((1 - level) / 2, freedom))
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(means, [tail, 1 - tail])))
    share = (1 + min(np.sum(np.array(means) <= 0), np.sum(np.array(means) >= 0))) / (draws + 1)
    p = 2 * stats.t.cdf(stats.norm.ppf(share) / math.sqrt(1 + 1 / freedom), freedom)
    assert found["p_value"] == pytest.approx(p)


def test_agrees_with_the_paired_t_test_where_prompts_are_many():
    random = np.random.default_rng(1)
    knn = random.normal(size=2000)
    ridge = knn + random.normal(0.02, 0.5, size=2000)
    row = one(pair_up([run(ridge), run(knn, "knn")]), "ridge", "knn")
    judge = stats.ttest_rel(ridge, knn)
    interval = judge.confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high), abs=0.002)
    assert 0.02 < judge.pvalue < 0.5
    assert row["p_value"] == pytest.approx(judge.pvalue, abs=0.02)


def test_p_is_corrected_over_all_differences_of_a_panel_and_gives_the_verdict():
    random = np.random.default_rng(2)
    base = random.normal(size=300)
    shifts = {"a": 0.4, "b": 0.3, "c": 0.0, "d": -0.15}
    runs = [run(base + shift + random.normal(size=300), name, single=base) for name, shift in shifts.items()]
    elsewhere = run(base + 9, "z", single=base, panel=("other", *PANEL[1:]))
    both = pair_up([elsewhere, *runs], draws=2000)
    frame = both.pairs[both.pairs["table"] == PANEL[0]]
    assert len(frame) == 6 + 4
    # Bounds: what one difference alone would have, and Holm's correction, which holds whatever the correlations.
    least = 0.0
    for k, (p, adjusted) in enumerate(sorted(zip(frame["p_value"], frame["p_adjusted"], strict=True))):
        least = max(least, min(1.0, p * (len(frame) - k)))
        assert p <= adjusted <= least + 0.01
    for row in frame.to_dict("records"):
        told = row["p_adjusted"] <= 0.05
        assert row["verdict"] == (("better" if row["difference"] > 0 else "worse") if told else "not significant")
    assert {"better", "worse", "not significant"} == set(frame["verdict"]) | {one(both, "d", "best single")["verdict"]}
    (alone,) = both.pairs[both.pairs["table"] == "other"].to_dict("records")
    assert alone["p_adjusted"] == alone["p_value"], "another panel is another family"


def test_swapping_two_contenders_flips_signs():
    """A run on another split lifts the other router to the top; on the rows in common nothing changes."""
    runs = [one for one in pooled() if one.split_seed == 0]
    row = one(pair_up(runs), "ridge", "knn")
    lifted = pair_up([*runs, run([50.0, 60.0], "knn", split=9)])
    assert list(lifted.contenders["contender"]) == ["knn", "ridge"]
    flipped = one(lifted, "knn", "ridge")
    assert flipped["rows"] == row["rows"] == 40
    assert (flipped["difference"], flipped["low"], flipped["high"]) == pytest.approx(
        (-row["difference"], -row["high"], -row["low"])
    )
    assert flipped["p_value"] == pytest.approx(row["p_value"])
    names = {"ridge": "knn", "knn": "ridge"}
    renamed = [run(r.reward, names[r.router], ids=r.ids, groups=r.groups) for r in runs]
    assert one(pair_up(renamed), "knn", "ridge")["difference"] == row["difference"]


def test_a_run_beside_its_copy_cannot_be_told_from_it():
    runs = pooled()[::2]
    copies = [
        run(r.reward, r.router, split=r.split_seed, ids=r.ids, groups=r.groups, folder=f"copy/{r.folder.name}")
        for r in runs
    ]
    pairs = pair_up([*runs, *copies])
    assert sorted(pairs.contenders["contender"]) == ["ridge (copy)", "ridge (runs)"]
    row = one(pairs, "ridge (copy)", "ridge (runs)")
    assert [row[name] for name in ("difference", "low", "high")] == [0, 0, 0]
    assert (row["p_value"], row["p_adjusted"], row["verdict"]) == (1, 1, "not significant")
    beside = pair_up([runs[0], run(runs[0].reward, ids=runs[0].ids, groups=runs[0].groups, folder="runs/again")])
    assert sorted(beside.contenders["contender"]) == ["ridge (1)", "ridge (2)"]


def test_prompts_are_resampled_and_not_rows():
    """The same rewards under three more seeds are no more evidence."""
    random = np.random.default_rng(5)
    ridge, knn = random.normal(0.5, size=50), random.normal(size=50)
    single = one(pair_up([run(ridge), run(knn, "knn")]), "ridge", "knn")
    many = [run(reward, name, seed=seed) for seed in range(4) for reward, name in ((ridge, "ridge"), (knn, "knn"))]
    repeated = one(pair_up(many), "ridge", "knn")
    assert (repeated["rows"], repeated["prompts"]) == (200, 50)
    for name in ("difference", "low", "high", "p_value"):
        assert repeated[name] == pytest.approx(single[name])


def test_seeds_and_splits_are_spread_apart_from_the_interval():
    gains = {(0, 0): 0.1, (0, 1): 0.3, (1, 0): 0.4, (1, 1): 0.8, (2, 0): 0.6}
    runs = [run([gain, gain], split=split, seed=seed) for (split, seed), gain in gains.items()]
    (row,) = pair_up(runs).contenders.to_dict("records")
    assert (row["runs"], row["splits"], row["seeds"]) == (5, 3, 2)
    assert row["gain"] == pytest.approx(np.mean(list(gains.values())))
    assert row["sd_over_splits"] == pytest.approx(np.std([0.2, 0.6, 0.6], ddof=1))
    assert row["sd_over_seeds"] == pytest.approx(math.sqrt((2 * 0.1**2 + 2 * 0.2**2) / 2))
    assert (row["gain_low"], row["gain_high"]) == pytest.approx((row["gain"], row["gain"])), "prompts do not differ"
    (alone,) = pair_up(runs[:1]).contenders.to_dict("records")
    assert math.isnan(alone["sd_over_splits"])
    assert math.isnan(alone["sd_over_seeds"])
    confounded = pair_up([runs[0], runs[3]]).contenders.iloc[0]
    assert math.isnan(confounded["sd_over_seeds"]), "seed and split changed at once"


def test_a_contender_with_one_seed_stands_beside_every_seed_of_the_other():
    knn = run([0.0, 0.0], "knn", seed=5)
    ridges = [run([0.2, 0.4], seed=0), run([0.6, 0.8], seed=1)]
    row = one(pair_up([knn, *ridges]), "ridge", "knn")
    assert (row["rows"], row["difference"]) == (4, pytest.approx(0.5))
    # with several seeds on both sides only equal seeds are pairs
    more = [run([0.1, 0.1], "knn", seed=1), run([9.0, 9.0], "knn", seed=2)]
    row = one(pair_up([*ridges, *more]), "knn", "ridge")
    assert (row["rows"], row["difference"]) == (2, pytest.approx(0.1 - 0.7))
    assert row["difference"] < 0, "ranked by gain over all runs, compared on the rows in common"


def test_without_rows_in_common_there_is_no_p_to_correct():
    random = np.random.default_rng(3)
    runs = [run(random.normal(0.2, size=40), split=0), run(random.normal(size=40), "knn", split=1)]
    pairs = pair_up(runs)
    row = one(pairs, *pairs.contenders["contender"])
    assert all(math.isnan(row[name]) for name in ("difference", "low", "high", "p_value", "p_adjusted", "mcnemar_p"))
    assert (row["rows"], row["verdict"]) == (0, "not compared")
    assert list(pairs.contenders["vs_best"]) == ["best", "not compared"]
    assert row["mcnemar_why_not"] == "no test prompt, split and seed in common"
    rest = pairs.pairs[pairs.pairs["second"] == "best single"]
    assert rest["p_value"].min() < rest["p_adjusted"].min() <= 2 * rest["p_value"].min(), "two differences"
    # prompts that only one of them was tested on do not count
    partly = [run([1.0, 0.0, 5.0], ids=["x", "y", "z"]), run([0.0, 0.0, 5.0], "knn", ids=["y", "x", "w"])]
    assert one(pair_up(partly), "ridge", "knn")["difference"] == 0.5


def test_splits_of_one_seed_that_leave_out_another_category_are_two():
    """The same seed everywhere; code has two prompts, math three, and a prompt's id says nothing of its split."""
    rewards = {("ridge", "code"): [0.9, 0.7], ("ridge", "math"): [0.4, 0.4, 0.1],
               ("knn", "code"): [0.5, 0.5], ("knn", "math"): [0.3, 0.2, 0.1]}  # fmt: skip
    pairs = pair_up([run(reward, router, left_out=name) for (router, name), reward in rewards.items()])
    ridge = pairs.contenders.set_index("contender").loc["ridge"]
    assert (ridge["runs"], ridge["splits"], ridge["seeds"]) == (2, 2, 1)
    assert ridge["gain"] == pytest.approx((0.9 + 0.7 + 0.4 + 0.4 + 0.1) / 5)
    assert ridge["sd_over_splits"] == pytest.approx(np.std([0.8, 0.3], ddof=1))
    assert math.isnan(ridge["sd_over_seeds"])
    row = one(pairs, "ridge", "knn")
    assert (row["rows"], row["difference"]) == (5, pytest.approx((0.4 + 0.2 + 0.1 + 0.2 + 0.0) / 5))
    apart = pair_up([run([0.9, 0.7], left_out="code"), run([0.5, 0.5], "knn", left_out="math")])
    assert one(apart, "ridge", "knn")["rows"] == 0


def test_one_prompt_and_one_group():
    single = pair_up([run([1.0]), run([0.0], "knn")])
    row = one(single, "ridge", "knn")
    assert row["difference"] == 1
    assert math.isnan(row["low"])
    assert math.isnan(row["p_adjusted"])
    assert row["verdict"] == "not significant"
    grouped = [run([1.0, 1.0, 1.0], name, groups=["g"] * 3, single=single) for name, single in (("a", 0), ("b", 0.5))]
    assert pair_up(grouped).pairs["p_adjusted"].isna().all()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ([{"reward": [0.5, 1]}], "rewards are not all 0 or 1"),
        ([{"reward": [1, 1], "groups": ["g", "g"]}], "groups of several prompts"),
        (
            [{"reward": [1, 1]}, {"reward": [1, 0], "seed": 1}],
            "prompts occur several times: more than one split or seed",
        ),
    ],
)  # fmt: skip
def test_mcnemar_only_where_it_holds(more, reason):
    groups = more[0].get("groups")
    pairs = pair_up([*[run(**{"router": "ridge"} | part) for part in more], run([0, 0], "knn", groups=groups)])
    row = one(pairs, "ridge", "knn")
    assert math.isnan(row["mcnemar_p"])
    assert row["mcnemar_why_not"] == reason


NAMES = [
    (
        [{"router.alphas": "[1]", "seen": "0"}, {"router.alphas": "[2]", "seen": "0"}],
        ["ridge, alphas=[1]", "ridge, alphas=[2]"],
    ),
    ([{"policy.lambda": "0.0"}, {"policy.lambda": "10.0"}], ["ridge, lambda=0.0", "ridge, lambda=10.0"]),
    ([{"a.k": "1", "b.k": "1"}, {"a.k": "2", "b.k": '"x"'}], ["ridge, a.k=1, b.k=1", "ridge, a.k=2, b.k=x"]),
    ([{"router.rank": "3"}, {}], ["ridge, rank=3", "ridge, rank=unset"]),
    ([{"alphas": f"[{'1, ' * 50}1]"}, {"alphas": f"[{'1, ' * 51}1]"}], ["(1)", "(2)"]),
]


@pytest.mark.parametrize(("settings", "expected"), NAMES)
def test_contenders_are_named_by_what_they_differ_in(settings, expected):
    runs = [run([0.9 - 0.1 * k, 0.8], settings=one) for k, one in enumerate(settings)]
    names = list(pair_up(runs).contenders["contender"])
    assert [name[-len(tail) :] for name, tail in zip(names, expected, strict=True)] == expected
    assert all(len(name) < 60 for name in names)


def test_backbones_are_in_the_name_where_there_are_several():
    runs = [run([1.0, 0.9]), run([0.5, 0.9], backbone="hashing"), run([0.1, 0.9], "knn", {"router.k": "5"})]
    assert list(pair_up(runs).contenders["contender"]) == ["ridge minilm", "ridge hashing", "knn minilm"]


def test_many_contenders_are_compared_with_the_best_and_the_best_single_only():
    random = np.random.default_rng(6)
    runs = [run(random.normal(0.05 * k, size=30), f"r{k}") for k in range(10)]
    pairs = pair_up(runs)
    assert len(pairs.pairs) == 9 + 10
    best = pairs.contenders["contender"].iloc[0]
    assert set(pairs.pairs["first"][pairs.pairs["second"] != "best single"]) == {best}
    assert sorted(pairs.contenders["gain"], reverse=True) == list(pairs.contenders["gain"])
    assert len(pair_up(runs[:8]).pairs) == 28 + 8


def judged_draws(groups, alpha=0.05):
    """By bisection on the p of draws that all lie on one side: the fewest draws with which it is alpha."""
    freedom = groups - 1

    def smallest_p(draws):
        return 2 * stats.t.cdf(stats.norm.ppf(1 / (draws + 1)) / math.sqrt(1 + 1 / freedom), freedom)

    low, high = 1, 10**9
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if smallest_p(middle) <= alpha else (middle + 1, high)
    return low


@pytest.mark.parametrize("prompts", [20, 300])
def test_too_few_draws_are_named(prompts):
    runs = [run(np.linspace(1, 2, prompts) + k, f"r{k}") for k in range(4)]
    enough = judged_draws(prompts)
    assert enough > 39, "more than the 40 of very many groups"
    few, many = pair_up(runs, draws=enough - 1), pair_up(runs, draws=enough)
    (note,) = few.notes
    assert f"with {enough - 1:,} draws no difference can be significant" in note
    assert f"bootstrap.draws={enough + 1} or more" in note
    assert set(few.pairs["verdict"]) == {"not significant"}
    assert many.notes == []
    assert set(many.pairs["verdict"]) == {"better"}


@pytest.mark.parametrize(
    ("groups", "contenders", "told"),
    [(2, 1, False), (3, 1, False), (3, 4, False), (4, 1, True), (5, 4, True), (9, 4, True)],
)
def test_too_few_groups_are_named_in_place_of_draws(groups, contenders, told):
    """Differences so large that every draw shows them; where 10,000 draws do not tell, no more draws are advised."""
    ids = [f"p{i}" for i in range(40)]
    of = [f"g{i % groups}" for i in range(40)]
    runs = [run(np.linspace(1, 2, 40) + k, f"r{k}", ids=ids, groups=of) for k in range(contenders)]
    draws = 200_000 if told else 10_000
    pairs = pair_up(runs, draws=draws)
    assert (set(pairs.pairs["verdict"]) == {"better"}) is told
    if told:
        assert pairs.notes == []
        return
    (note,) = pairs.notes
    assert f"with {groups} groups of test prompts no difference can be significant" in note
    assert "draws" not in note
    assert "test on more prompts" in note


def test_one_group_is_named():
    (note,) = pair_up([run([1.0, 2.0], groups=["g", "g"])]).notes
    assert "all test prompts are one group" in note


def test_how_contenders_stand_to_the_best_and_to_the_best_single():
    random = np.random.default_rng(8)
    base = random.normal(size=400)
    noise = random.normal(scale=0.3, size=(4, 400))
    noise -= noise.mean(axis=1, keepdims=True)
    gains = {"best": 0.4, "near": 0.39, "low": 0.1, "bad": -0.3}
    pairs = pair_up(
        [run(base + gain + e, name, single=base) for (name, gain), e in zip(gains.items(), noise, strict=True)]
    )
    found = pairs.contenders.set_index("contender")
    assert found["vs_best"].to_dict() == {"best": "best", "near": "not significant", "low": "worse", "bad": "worse"}
    assert found["vs_single"].to_dict() == {"best": "better", "near": "better", "low": "better", "bad": "worse"}
    for name in ("near", "low", "bad"):
        assert found.loc[name, "p_vs_best"] == one(pairs, "best", name)["p_adjusted"]
        assert found.loc[name, "p_vs_single"] == one(pairs, name, "best single")["p_adjusted"]
    assert math.isnan(found.loc["best", "p_vs_best"])


def test_a_contender_may_be_better_than_the_best_on_the_rows_they_share():
    random = np.random.default_rng(9)
    shared = random.normal(size=200)
    runs = [
        run(shared, single=shared), run(shared + 0.5 + 0.1 * random.normal(size=200), "knn", single=shared),
        run(np.full(200, 9.0), split=1),
    ]  # fmt: skip
    found = pair_up(runs).contenders.set_index("contender")
    assert found.index[0] == "ridge", "its other split is an easy one"
    assert found.loc["knn", "vs_best"] == "better"


def test_runs_that_are_not_tested_have_a_place_and_no_row():
    tested = [run([1.0, 0.5]), run([0.0, 0.5], "knn")]
    about = ("folder", "panel", "router", "backbone", "settings", "split", "split_seed", "seed")
    copy = KnownRun(**{name: getattr(tested[0], name) for name in about} | {"folder": Path("late"), "split": "late"})
    other = KnownRun(Path("other"), ("z", *PANEL[1:]), "mlp", "minilm", {}, "0", 0, 0)
    pairs = pair_up([copy, other, *tested])
    assert list(pairs.contenders["contender"]) == ["ridge", "knn"]
    assert pairs.contenders["runs"].tolist() == [1, 1]
    assert pairs.places[Path("late")] == Place(pairs.places[tested[0].folder].facts, "ridge", "late")
    assert pairs.places[Path("other")].facts["panel"] == 2
    assert set(pairs.places) == {Path("late"), Path("other"), *(one.folder for one in tested)}


@pytest.mark.parametrize(
    "panel",
    [
        ("other", *PANEL[1:]),
        (PANEL[0], "other", *PANEL[2:]),
        (*PANEL[:2], ("a", "c"), PANEL[3]),
        (*PANEL[:3], "tokens"),
    ],
)  # fmt: skip
def test_panels_are_not_compared_with_each_other(panel):
    pairs = pair_up([run([1.0, 0.5]), run([0.0, 0.5], "knn", panel=panel)])
    assert sorted(pairs.contenders["panel"]) == [1, 2]
    assert set(pairs.pairs["second"]) == {"best single"}


def test_two_tables_of_one_name_are_told_by_their_rewards():
    same = np.array([[0.1, 0.2], [0.3, 0.4]])
    runs = [
        run([0.1, 0.4], observed=same),
        run([0.2, 0.3], "knn", observed=same[::-1] + 1e-15, ids=["p1", "p0"]),  # a sum in another order
        run([5.0, 6.0], "rank", observed=same + 1, folder="runs/rank"),
    ]
    pairs = pair_up(runs)
    assert len(pairs.pairs) == 3 + 1
    (note,) = [note for note in pairs.notes if "groups of test prompts" not in note]
    assert note.startswith("runs/rank: compared apart from runs/ridge-0-0")


def test_nothing_to_compare():
    pairs = pair_up([])
    assert list(pairs.contenders.columns) == CONTENDERS
    assert list(pairs.pairs.columns) == PAIRS
    assert len(pairs.pairs) == len(pairs.contenders) == 0
