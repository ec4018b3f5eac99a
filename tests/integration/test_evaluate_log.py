"""`erp evaluate log=...`: a gateway's log of known truth, judged by another lambda."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import erp as package
from erp.config.serve import Log
from erp.serving.decide import Moment, decide
from erp.serving.log import DecisionLog
from erp.serving.predict import Predictor
from erp.trained.model import Predictions

N, EXPLORE = 1200, 0.4
WORTH = np.array([[0.3, 0.5, 0.8], [0.7, 0.6, 0.1]])  # chance that a member's answer is right, by the kind of prompt


def prompts(n, seed=0):
    """Texts of random words, of which no two are near-duplicates."""
    rng = np.random.default_rng(seed)
    return [" ".join(f"{word:x}" for word in rng.integers(2**20, size=12)) for _ in range(n)]


def write_log(run, folder, texts, explore=EXPLORE, prompts=True, **more):
    """What a gateway would log that serves the run at lambda 0; and the truth of each member by request."""
    trained = package.load(run)
    chosen = trained.route(texts, 0.0)["member"].tolist()
    rng, members = np.random.default_rng(0), list(trained.members)
    log = DecisionLog(Log(folder=str(folder), prompts=prompts))
    truth = WORTH[np.arange(len(texts)) % 2]
    for i, (text, usual) in enumerate(zip(texts, chosen, strict=True)):
        explored = rng.random() < explore
        member = members[rng.integers(3)] if explored else usual
        log.write({"id": str(i), "prompt": text, "chosen": member, "order": members, "answered": member, "status": 200,
                   "path": "explored" if explored else "routed", "cost_usd": 0.01 * (1 + members.index(member)),
                   "propensity": (1 - explore) * (member == usual) + explore / 3, **more})  # fmt: skip
        log.feedback(str(i), float(rng.random() < truth[i, members.index(member)]))
    log.close()
    return members, truth


def test_another_lambda_is_judged_by_the_requests_that_were_left_to_chance(erp, run, tmp_path):
    texts = prompts(N)
    members, truth = write_log(run, tmp_path / "log", texts)
    answer = erp("evaluate", f"run={run}", f"log={tmp_path / 'log'}", "lambda=inf")
    assert answer.code == 0, answer.err
    found = json.loads((run / "evaluations" / answer.last.rsplit("/", 1)[-1] / "off_policy.json").read_text())
    cheapest = package.load(run).route(texts, float("inf"))["member"].tolist()
    value = np.mean([truth[i, members.index(name)] for i, name in enumerate(cheapest)])
    for estimate in ("inverse_propensity", "self_normalised", "doubly_robust"):
        told = found["reward"][estimate]
        assert told["low"] < value < told["high"]
    told = found["reward"]["self_normalised"]  # this run's predictions are of rewards on another scale
    assert told["high"] - told["low"] < 0.25
    assert found["requests"] == N
    assert found["shares"] == {name: cheapest.count(name) / N for name in members}
    spent = 0.01 * np.mean([1 + members.index(name) for name in cheapest])
    assert found["cost_usd"]["self_normalised"]["mean"] == pytest.approx(spent, abs=1e-3)
    assert "doubly robust" in answer.out
    assert "its choices: " in answer.out


def test_the_policy_that_served_is_worth_what_was_logged(erp, run, tmp_path):
    write_log(run, tmp_path / "log", prompts(N))
    assert erp("evaluate", f"run={run}", f"log={tmp_path / 'log'}", "lambda=0").code == 0
    (file,) = run.glob("evaluations/*/off_policy.json")
    gain = json.loads(file.read_text())["reward"]["gain"]
    assert gain["low"] < gain["mean"] < gain["high"]
    assert abs(gain["mean"]) < 0.1


def test_a_policy_that_tosses_a_coin_is_worth_what_it_logged(erp, quick, tmp_path):
    """The coin of a prompt is its text's: what is drawn once is drawn again, and still the odds count."""
    run = erp("train", *quick, "policy=budget").last
    trained, texts = package.load(run), prompts(N)
    predictor, rng = Predictor(trained), np.random.default_rng(0)
    members, log = list(trained.members), DecisionLog(Log(folder=str(tmp_path / "log"), prompts=True))
    found, tossed = trained.predict(texts), 0
    for i, text in enumerate(texts):
        one = predictor.weighed(
            Predictions(found.scores[i : i + 1], found.costs[i : i + 1], None), text, trained.policy
        )
        tossed += max(one.weights.values()) < 1
        draw = (rng.random(), rng.random())
        chosen = decide(one, Moment(members, members, predictor.lambda_, explore=EXPLORE, draw=draw))
        log.write({"id": str(i), "prompt": text, "chosen": chosen.member, "order": chosen.order, "status": 200,
                   "answered": chosen.member, "path": chosen.path, "propensity": chosen.propensity})  # fmt: skip
        log.feedback(str(i), float(rng.random() < WORTH[i % 2, members.index(chosen.member)]))
    log.close()
    predictor.close()
    assert tossed > 50
    answer = erp("evaluate", f"run={run}", f"log={tmp_path / 'log'}")
    assert answer.code == 0, answer.err
    (file,) = Path(run).glob("evaluations/*/off_policy.json")
    told = json.loads(file.read_text())
    value = np.mean([sum(WORTH[i % 2, members.index(name)] * weight for name, weight in odds.items())
                     for i, odds in enumerate(_odds_of(trained, found, texts))])  # fmt: skip
    for estimate in ("inverse_propensity", "self_normalised"):
        assert told["reward"][estimate]["low"] < value < told["reward"][estimate]["high"]
    assert told["cost_usd"] is None


def _odds_of(trained, found, texts):
    weights = trained.policy.choose(found.scores, found.costs).weights
    assert len(weights) == len(texts)
    return [dict(zip(trained.members, row, strict=True)) for row in weights]


def test_prompts_that_the_run_learnt_from_are_left_out(erp, run, table, tmp_path):
    known = pd.read_parquet(table)["prompt"].unique().tolist()
    write_log(run, tmp_path / "log", known[:150] + prompts(50))
    answer = erp("evaluate", f"run={run}", f"log={tmp_path / 'log'}")
    assert answer.code == 0, answer.err
    assert "the run learnt from" in answer.out
    assert "intervals are too narrow" in answer.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"explore": 0.0}, "were not left to chance"),
        ({"prompts": False}, "gateway.log.prompts=true"),
        ({"path": "pinned"}, "were not left to chance"),
        ({"answered": "nobody"}, "no order and propensity"),
        ({"chosen": "another"}, "another member answered"),
        ({"order": ["a", "b", "c", "large", "medium", "small"]}, "holds no request"),
        ({"status": 500}, "no member answered"),
    ],
)
def test_a_log_that_says_nothing_of_another_policy_is_refused_in_a_line(erp, run, tmp_path, arguments, words):
    write_log(run, tmp_path / "log", prompts(20), **arguments)
    answer = erp("evaluate", f"run={run}", f"log={tmp_path / 'log'}")
    assert answer.code == 2
    assert words in answer.err
    assert len(answer.faults) == 1
    assert not list(run.glob("evaluations/*"))


def test_keys_that_do_not_go_together_are_refused(erp, run, table, tmp_path):
    assert "give log=<folder>" in erp("evaluate", f"run={run}", "lambda=1").err
    both = erp("evaluate", f"run={run}", "log=x", "data=table", f"data.path={table}")
    assert "give data or log, not both" in both.err
    assert "there is no such file or folder" in erp("evaluate", f"run={run}", f"log={tmp_path / 'no'}").err
    assert erp("evaluate", f"run={run}", "log=x", "lambda=nan").code == 2
