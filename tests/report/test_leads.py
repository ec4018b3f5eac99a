"""What a comparison says first, and what of it is bold."""

import numpy as np

from erp.evaluation.comparison.pairs import pair_up
from erp.report.comparisons.columns import leads, untold
from tests.contenders import run


def stands(*verdicts):
    """The lead of a best contender and others that stand so to it, in the order of their gains."""
    random = np.random.default_rng(11)
    base = random.normal(size=300)
    runs = [run(base + 9, "top", split=1, single=base), run(base, "top", single=base)]  # 9 on a split of its own
    shifts = {"not significant": 0.0, "better": 2.0, "worse": -2.0}
    for k, verdict in enumerate(verdicts):
        noise = random.normal(scale=0.1, size=300)
        more = shifts.get(verdict, -3.0) + noise - noise.mean()
        runs.append(run(base + more, f"r{k}", split=2 if verdict == "not compared" else 0, single=base))
    pairs = pair_up(runs)
    found = dict(zip(pairs.contenders["contender"], pairs.contenders["vs_best"], strict=True))
    assert found == {"top": "best", **{f"r{k}": verdict for k, verdict in enumerate(verdicts)}}
    (lead,) = leads(pairs)
    return lead.partition("more than chance")[2]


def test_the_lead_says_better_than_all_only_where_it_is_and_is_silent_of_what_was_not_compared():
    assert stands("worse", "worse") == ". It is better than each of the others."
    assert stands("worse", "better") == ". It has the largest gain of 3, and is worse than r1 on the rows they share."
    assert stands("worse", "not compared") == ". It has the largest gain of 2."
    assert (
        stands("not significant", "not compared")
        == ". It has the largest gain of 2, and does not differ significantly from r0."
    )
    assert stands("not compared") == stands() == "."


def test_the_best_is_bold_and_what_was_not_compared_is_not():
    random = np.random.default_rng(3)
    pairs = pair_up([run(random.normal(0.2, size=40), split=0), run(random.normal(size=40), "knn", split=1)])
    assert list(pairs.contenders["vs_best"]) == ["best", "not compared"]
    assert untold(pairs.contenders) == [True, False]
