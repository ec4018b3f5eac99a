"""The table that ships with the package: real prompts, responses and rewards, without a download."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from erp.compose import options
from erp.table.mini import MINI, Mini


def mini(reward_model=None):
    return Mini().read(reward_model)


def test_it_is_whole():
    table = mini()
    assert len(table.prompts) >= 300
    assert table.prompts["category"].nunique() >= 10
    assert len(table.members) >= 5
    cells = table.samples.groupby(["prompt", "member"]).size()
    assert len(cells) == len(table.prompts) * len(table.members)
    assert (cells >= 8).all()
    assert table.samples["reward"].between(0, 1).all()
    assert (table.samples["completion_tokens"] > 0).all()
    assert set(table.facts) == set(table.members)
    assert all("were cut at max_tokens" in note for note in table.notes)
    assert len(table.notes) == 5


def test_two_reward_models_scored_the_same_responses():
    exact, judged = mini("verifier"), mini("yes_logit")
    assert exact.fingerprint() != judged.fingerprint()
    keys = ["prompt", "member", "sample"]
    pd.testing.assert_frame_equal(exact.samples[keys], judged.samples[keys])
    assert np.corrcoef(exact.samples["reward"], judged.samples["reward"])[0, 1] > 0


def test_responses_and_their_rewards_agree():
    """Scored again by the verifier, a sample of the shipped responses gets the shipped rewards."""
    pytest.importorskip("reasoning_gym")
    from erp.build import build
    from erp.collect.pairs import read_reference
    from erp.collect.rewards.base import Pair, RewardAdapter
    from erp.compose import compose

    prompts = pd.read_parquet(MINI / "prompts.parquet").set_index("prompt_id")
    keys = ["prompt_id", "model", "sample"]
    rows = pd.read_parquet(MINI / "samples").merge(
        pd.read_parquet(MINI / "rewards/verifier/part-00000.parquet"), on=keys
    )
    rows = rows.sample(300, random_state=0)
    adapter = build(compose("collect", ["reward_model=verifier"])["reward_model"], RewardAdapter, key="reward_model")
    pairs = [
        Pair(prompts["prompt"][i], text, None, read_reference(prompts["reference"][i]))
        for i, text in zip(rows["prompt_id"], rows["response"], strict=True)
    ]
    assert adapter.score(pairs) == rows["reward"].tolist()


def test_a_first_run_needs_neither_weights_nor_network(erp, monkeypatch):
    from erp.backbones.sentence_transformer import SentenceTransformerBackbone

    def no_encoder(self, prompts):
        raise AssertionError("the embeddings are shipped")

    monkeypatch.setattr(SentenceTransformerBackbone, "embed", no_encoder)
    answer = erp("train", "tracking=off", "bootstrap.draws=200")
    assert answer.code == 0
    results = json.loads((Path(answer.last) / "results.json").read_text())
    assert results["run"]["table"] == "mini"
    assert results["run"]["reward_model"] == "verifier"
    assert results["cost"]["kind"] == "flops"


def test_shipped_embeddings_are_those_of_the_encoder(tmp_path):
    from erp.backbones.base import build_backbone
    from erp.backbones.cache import SHIPPED, cached_embeddings
    from erp.compose import compose

    backbone, encoder = (build_backbone(compose("train", [])["backbone"], None) for _ in range(2))
    prompts = mini().prompts["prompt"].tolist()
    backbone.embed = lambda prompts: pytest.fail("embedded")
    shipped = cached_embeddings(prompts, backbone, tmp_path, progress=False)
    assert [path.name for path in SHIPPED.iterdir()] == [path.name for path in (tmp_path / "embeddings").glob("*/")]
    np.testing.assert_allclose(shipped.take(np.arange(5)), encoder.embed(prompts[:5]), atol=1e-5)
    assert shipped.window == encoder.window()
    assert shipped.unread.tolist() == encoder.unread(prompts).tolist()


def test_a_router_of_one_reward_model_is_scored_by_the_other(erp):
    """The downstream question: does what the judge likes earn what the verifier pays?"""
    from erp.config import EvaluateConfig
    from erp.programs.evaluate import run

    folder = erp("train", "tracking=off", "bootstrap.draws=200", "reward_model=yes_logit").last
    answer = erp("evaluate", f"run={folder}", "reward_model.name=verifier")
    assert answer.code == 0, answer.err
    results = json.loads((Path(answer.last) / "results.json").read_text())
    assert results["run"]["reward_model"] == "verifier"
    assert results["prediction"]["r2_pooled"] is None  # a log-odds is no score of the verifier
    cross = results["audits"]["cross_reward_model"]
    assert (cross["learnt_from"], cross["scored_by"]) == ("yes_logit", "verifier")
    trained = json.loads((Path(folder) / "results.json").read_text())
    test = pd.read_parquet(Path(folder) / "split.parquet").query("split == 'test'")["prompt_id"]
    rewards = {}
    for name in ("verifier", "yes_logit"):
        frame = pd.read_parquet(MINI / f"rewards/{name}/part-00000.parquet")
        frame = frame[frame["prompt_id"].isin(test)]
        rewards[name] = frame.pivot_table(index="prompt_id", columns="model", values="reward")
    favourite = rewards["yes_logit"].to_numpy().argmax(axis=1)
    earned = rewards["verifier"].to_numpy()[np.arange(len(favourite)), favourite].mean()
    assert cross["favourite"]["reward"] == pytest.approx(earned, abs=1e-9)
    assert cross["best_single_member"] == trained["routing"]["best_single"]["member"]
    best = rewards["verifier"][cross["best_single_member"]].mean()
    assert cross["router"]["gain"]["mean"] == pytest.approx(cross["router"]["reward"] - best)
    report = (Path(answer.last) / "report.md").read_text()
    assert "The router learnt from yes_logit and is scored here by verifier" in report
    # On its own reward model nothing is crossed.
    _, own = run(EvaluateConfig(run=folder, data={"name": "same"}))
    assert "cross_reward_model" not in own["audits"]


@pytest.mark.parametrize("name", ["verifier", "yes_logit"])
def test_learning_takes_an_option_of_collecting_for_its_name(erp, name):
    assert name in options("reward_model")
    facts = json.loads(erp("describe", f"reward_model={name}", "output=json").out)
    assert facts["reward_model"] == name
