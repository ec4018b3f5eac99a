"""Votes of people in place of rewards, through `erp train`, with scikit-learn as the judge of what was learnt."""

import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from tests.integration.conftest import SMALL
from tests.integration.tables import results

MEMBERS = ("synthetic-1b", "synthetic-3b", "synthetic-8b")


def vote(prompt, first, second, winner):
    return {"prompt": prompt, "model_a": first, "model_b": second, "winner": winner}


def written(votes, path="votes.jsonl"):
    Path(path).write_text("".join(f"{json.dumps(row)}\n" for row in votes))
    return f"votes.path={path}"


def most_likely(games):
    """Strengths of sum 0 of games (i, j, share of the win), and of one draw more between every two members."""
    games = [*games, *((i, j, 0.5) for i, j in combinations(range(3), 2))]
    design, won, weight = [], [], []
    for i, j, share in games:
        for outcome, of in ((1, share), (0, 1 - share)):
            design.append(np.eye(3)[i] - np.eye(3)[j])
            won.append(outcome)
            weight.append(of)
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    found = model.fit(np.array(design), won, sample_weight=weight).coef_[0]
    return found - found.mean()


def told(folder, what):
    (count,) = {m[1] for note in results(folder)["data"]["notes"] if (m := re.search(what, note))}
    return int(count.replace(",", ""))


def strengths(folder):
    frame = pd.read_parquet(f"{folder}/predictions.parquet")
    return frame.pivot_table(index="prompt_id", columns="model", values="predicted")[list(MEMBERS)].to_numpy()


# Every prompt has the same votes, so that which of them are validation does not matter.
OF_EACH = [
    (0, 1, "model_a"), (1, 0, "model_b"), (1, 2, "tie"), (2, 0, "model_a"), (0, 2, "model_a"), (1, 2, "both_bad"),
    (2, 1, "tie (bothbad)"), (1, 0, "model_a"),
]  # fmt: skip
SHARE = {"model_a": 1.0, "model_b": 0.0}


def on_own_prompts(n=30):
    return [
        vote(f"Question {k} about {k * k}?", MEMBERS[i], MEMBERS[j], winner)
        for k in range(n) for i, j, winner in OF_EACH
    ]  # fmt: skip


def test_strengths_are_scikit_learns_of_the_votes_alone(erp, quick):
    votes = on_own_prompts()
    answer = erp(
        "train", *quick, "router=bradley_terry", written([*votes, vote("Who?", "synthetic-1b", "gone", "tie")])
    )
    assert answer.code == 0, answer.err
    learnt, validation = (told(answer.last, what) for what in (r"from ([\d,]+) votes", r"([\d,]+) of them validation"))
    assert learnt == len(votes)
    assert 0 < validation < len(votes)
    assert told(answer.last, r"votes: (\d+) of 241 name gone") == 1
    prompts = (learnt - validation) // len(OF_EACH)
    games = [(i, j, SHARE.get(winner, 0.5)) for i, j, winner in OF_EACH] * prompts
    np.testing.assert_allclose(strengths(answer.last) - most_likely(games), 0, atol=1e-5)


def test_a_vote_on_a_prompt_that_is_held_out_is_not_learnt_from(erp, quick, table):
    frame = pd.read_parquet(table).drop_duplicates("prompt_id")
    on_table = [vote(prompt, "synthetic-8b", "synthetic-1b", "model_a") for prompt in frame["prompt"]]
    answer = erp("train", *quick, "router=bradley_terry", written([*on_own_prompts(), *on_table]))
    assert answer.code == 0, answer.err
    split = pd.read_parquet(f"{answer.last}/split.parquet")
    assert (
        told(answer.last, r"votes: ([\d,]+) on prompts like those of validation or test")
        == (split["split"] != "train").sum()
    )


def test_votes_beside_rewards_are_games_of_one_ranking(erp, quick, table):
    """The table's are counted by pandas; the votes are as above."""
    answer = erp("train", *quick, "router=bradley_terry", written(on_own_prompts()), "votes.beside_rewards=true")
    assert answer.code == 0, answer.err
    learnt, validation = (told(answer.last, what) for what in (r"from ([\d,]+) votes", r"([\d,]+) of them validation"))
    games = [(i, j, SHARE.get(w, 0.5)) for i, j, w in OF_EACH] * ((learnt - validation) // len(OF_EACH))
    split = pd.read_parquet(f"{answer.last}/split.parquet").set_index("prompt_id")["split"]
    means = pd.read_parquet(table).pivot_table(index="prompt_id", columns="model", values="reward")[list(MEMBERS)]
    for row in means[split.loc[means.index] == "train"].to_numpy():
        games += [(i, j, (np.sign(row[i] - row[j]) + 1) / 2) for i, j in combinations(range(3), 2)]
    np.testing.assert_allclose(strengths(answer.last) - most_likely(games), 0, atol=1e-5)


@pytest.mark.parametrize("router", ["similarity_weighted", "matrix_factorisation", "p2l"])
def test_a_router_learns_from_votes_what_no_reward_tells(erp, tmp_path, router):
    """Rewards are noise; people say that one member knows rivers and the other one stars."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), 6)) for _ in range(50)]

    def asked(topic):
        return " ".join([topic, *rng.choice(words, 4)])

    topics = ["river", "star"] * 60
    prompts = [asked(topic) for topic in topics]
    pd.DataFrame({
        "prompt_id": np.repeat([f"{topic} {k}" for k, topic in enumerate(topics)], 2), "prompt": np.repeat(prompts, 2),
        "model": ["wet", "bright"] * len(prompts), "reward": rng.integers(0, 2, 2 * len(prompts)),
    }).to_parquet("table.parquet")  # fmt: skip
    votes = [vote(asked(t), "wet", "bright", "model_a" if t == "river" else "model_b") for t in ["river", "star"] * 200]
    answer = erp(
        "train", "data=table", "data.path=table.parquet", "backbone=hashing", *SMALL[1:], f"router={router}",
        "trainer.learning_rate=0.01", "trainer.batch_size=64", "trainer.max_epochs=20", written(votes),
    )  # fmt: skip
    assert answer.code == 0, answer.err
    frame = pd.read_parquet(f"{answer.last}/predictions.parquet")
    ahead = frame.pivot_table(index="prompt_id", columns="model", values="predicted")
    assert ((ahead["wet"] > ahead["bright"]) == ahead.index.str.startswith("river")).mean() > 0.95


def test_a_router_that_learns_from_rewards_takes_no_votes(erp, quick):
    answer = erp("train", *quick, written(on_own_prompts()))
    assert answer.code == 2
    (fault,) = answer.faults
    assert fault.startswith("erp train: votes.path = votes.jsonl: router = ridge learns from rewards; ")


BAD = {
    "line 2, column winner = 'model_c': allowed are model_a, model_b, tie, tie (bothbad), both_bad":
        vote("Who?", "synthetic-1b", "synthetic-3b", "model_c"),
    "line 2, column prompt = null: missing": vote(" ", "synthetic-1b", "synthetic-3b", "tie"),
    "line 2, column prompt: is a int": vote(3, "synthetic-1b", "synthetic-3b", "tie"),
    "line 2, column model_b = null: no name": vote("Who?", "synthetic-1b", None, "tie"),
    "line 2, column model_b = 'synthetic-1b': as model_a": vote("Who?", "synthetic-1b", "synthetic-1b", "tie"),
}  # fmt: skip


def test_every_bad_row_is_named(erp, quick):
    good = vote("Which?", "synthetic-1b", "synthetic-3b", "tie")
    for number, row in enumerate(BAD.values()):
        written([good, row], f"{number}.jsonl")
    for number, said in enumerate(BAD):
        answer = erp("train", *quick, "router=p2l", f"votes.path={number}.jsonl")
        assert answer.code == 2
        (fault,) = answer.faults
        assert fault.startswith(f"erp train: votes.path = {number}.jsonl: {said}")


def test_what_cannot_be_learnt_from_is_refused(erp, quick):
    answer = erp("train", *quick, "router=p2l", "votes.path=none.jsonl")
    assert answer.faults == ["erp train: votes.path = none.jsonl: there is no such file or folder; correct the path"]
    written([{"prompt": "Who?", "model_a": "synthetic-1b", "model_b": "synthetic-3b"}], "short.jsonl")
    (fault,) = erp("train", *quick, "router=p2l", "votes.path=short.jsonl").faults
    assert "there is no column winner; its columns are prompt, model_a, model_b" in fault
    (fault,) = erp("train", *quick, "router=p2l", written([vote("Who?", "a", "b", "tie")])).faults
    assert "none of 1 votes is between two members of the pool; they are between a, b" in fault
    two = [vote(f"What is {k}?", "synthetic-1b", "synthetic-3b", "tie") for k in range(40)]
    (fault,) = erp("train", *quick, "router=p2l", written(two)).faults
    assert fault.startswith("erp train: votes.path: no vote of train is on synthetic-8b, ")
    (fault,) = erp("train", *quick, "router=p2l", written(two[:1])).faults
    assert "none of these is left for" in fault
    (fault,) = erp("train", *quick, "router=p2l", "votes.beside_rewards=true").faults
    assert "beside_rewards: is read with votes.path only" in fault
