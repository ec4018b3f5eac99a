"""Gains by disagreement: hand-worked, against brute force, and unbiased where choosing on the same samples is not."""

import numpy as np
import pytest
from scipy.stats import f_oneway

from erp.evaluation.disagreement import disagreement_section
from erp.evaluation.held_out import HeldOut
from erp.metrics.intervals import GroupBootstrap
from erp.table.samples import Samples
from erp.targets import Targets
from tests.metrics.worked import targets_of

SETTINGS = {"draws": 200, "seed": 1, "level": 0.95}


def held(targets, scores, category=None, single=0):
    n, members = targets.mean.shape
    means = np.zeros(members)
    means[single] = 1.0
    return HeldOut(
        members=tuple("abcdefgh"[:members]), scores=scores, category_scores=category, targets=targets,
        costs=np.ones((n, members)), predicted_costs=np.ones(members), train_mean_reward=means,
        train_mean_cost=np.ones(members), groups=np.arange(n), scale="reward",
    )  # fmt: skip


def section(test, samples):
    return disagreement_section(test, samples, GroupBootstrap(test.groups, **SETTINGS))


def samples_of(reward, rows=None):
    return Samples(reward, (~np.isnan(reward)).sum(axis=2), np.arange(len(reward)) if rows is None else rows)


def test_brute_force():
    rng = np.random.default_rng(0)
    reward = rng.normal(0, 0.4, (60, 3, 4)) + rng.normal(0, 0.5, (60, 3, 1))
    scores, category = rng.normal(size=(60, 3)), rng.normal(size=(60, 3))
    found = section(held(targets_of(reward), scores, category, single=2), samples_of(reward))
    assert (found["basis"], found["level"], found["folds"], found["prompts"]) == ("test", 0.05, 4, 60)
    tally = {True: [], False: []}
    for i, prompt in enumerate(reward):
        for k in range(4):
            others = np.delete(prompt, k, axis=1)
            earned, best = prompt[:, k], int(others.mean(axis=1).argmax())
            router, of_category = scores[i].argmax(), category[i].argmax()
            tally[bool(f_oneway(*others).pvalue <= 0.05)].append(
                (earned[router] - earned[2], earned[router] - earned[of_category], earned[best] - earned[2])
            )
    headroom = sum(row[2] for rows in tally.values() for row in rows)
    for part, rows in zip(("disagree", "agree"), (tally[True], tally[False]), strict=True):
        told = {key: value["mean"] for key, value in found[part].items()}
        assert told["share"] == pytest.approx(len(rows) / 240)
        assert told["gain_vs_best_single"] == pytest.approx(np.mean([row[0] for row in rows]))
        assert told["gain_vs_category_mean"] == pytest.approx(np.mean([row[1] for row in rows]))
        assert told["headroom_share"] == pytest.approx(sum(row[2] for row in rows) / headroom)
        assert found[part]["share"]["low"] < told["share"] < found[part]["share"]["high"]


def test_by_hand_at_one_sample_it_is_what_was_observed():
    rewards = np.array([[1, 0], [0, 0], [1, 1], [0, 1.0]])
    scores = np.array([[1, 0], [0, 1], [0, 1], [0, 1.0]])  # of a, b, b, b: gains 0, 0, 0 and 1 over a
    unknown = np.full((4, 2), np.nan)
    test = held(Targets(rewards, np.ones((4, 2), dtype=int), unknown, unknown), scores)
    found = section(test, samples_of(rewards[:, :, None]))
    assert (found["basis"], found["level"], found["folds"]) == ("observed", None, None)
    assert found["reason"].startswith("one sample of a cell")
    assert found["disagree"]["share"]["mean"] == 0.5
    assert found["disagree"]["gain_vs_best_single"]["mean"] == 0.5
    assert found["agree"]["gain_vs_best_single"] == {"mean": 0, "low": 0, "high": 0}
    assert found["disagree"]["headroom_share"] is None
    assert found["agree"]["gain_vs_category_mean"] is None


@pytest.mark.parametrize(
    ("rewards", "samples", "reason"),
    [
        (np.array([[0.2, 0.3], [0.1, 0.4]]), True, "one sample of a cell"),
        (np.array([[0.2, 0.3], [0.1, 0.4]]), False, "there are no separate samples"),
        (np.array([[1.0], [0.0]]), True, "there is one member"),
    ],
)
def test_what_cannot_be_known_is_null(rewards, samples, reason):
    unknown = np.full(rewards.shape, np.nan)
    test = held(Targets(rewards, np.ones(rewards.shape, dtype=int), unknown, unknown), rewards)
    found = section(test, samples_of(rewards[:, :, None]) if samples else None)
    assert found["reason"].startswith(reason)
    assert found["basis"] is found["disagree"] is found["agree"] is None


def test_right_and_wrong_by_two_samples_can_tell_nothing_of_two_members():
    reward = np.random.default_rng(0).integers(0, 2, (30, 2, 2)).astype(float)
    found = section(held(targets_of(reward), reward[:, :, 0]), samples_of(reward))
    assert (found["basis"], found["reason"][:19]) == ("observed", "with so few samples")


def test_prompts_with_two_samples_in_every_cell_are_tested():
    rng = np.random.default_rng(1)
    reward = rng.normal(size=(20, 3, 3))
    reward[5, 1, 1:] = np.nan
    found = section(held(targets_of(reward), reward[:, :, 0]), samples_of(reward))
    kept = np.delete(np.arange(20), 5)
    alone = section(held(targets_of(reward[kept]), reward[kept][:, :, 0]), samples_of(reward[kept]))
    assert (found["prompts"], found["folds"]) == (19, 3)
    assert found["disagree"] == alone["disagree"]


def test_choosing_prompts_biases_no_gain():
    """Members alike but for luck: no router gains anywhere, though it does where luck itself chose the prompts."""
    rng = np.random.default_rng(2)
    reward = rng.normal(size=(4000, 3, 4))
    scores = np.broadcast_to([0.0, 1.0, 0.0], (4000, 3))
    found = section(held(targets_of(reward), scores), samples_of(reward))
    assert found["disagree"]["share"]["mean"] == pytest.approx(0.05, abs=0.01)
    for part in ("disagree", "agree"):
        assert found[part]["gain_vs_best_single"]["low"] < 0 < found[part]["gain_vs_best_single"]["high"]
        assert found[part]["headroom_share"] is None  # there is none
