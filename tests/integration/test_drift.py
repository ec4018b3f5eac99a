"""A router asked with another encoder: what changes is counted as a user would, kept, and needed before it serves."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import erp as package
from erp.backbones.hashing import HashingBackbone
from erp.config import validate
from erp.errors import ErpError
from erp.serving.opening import opened

OTHER = {"name": "hashing", "_target_": "erp.backbones.hashing.HashingBackbone", "dimensions": 256, "ngram_max": 2}
ASKED = ["backbone=hashing", "backbone.dimensions=256", "backbone.ngram_max=2"]


@pytest.fixture
def measured(erp, run):
    """`erp evaluate` with the other encoder, and the folder of its report."""
    answer = erp("evaluate", f"run={run}", *ASKED)
    assert answer.code == 0, answer.err
    return answer, Path(answer.last)


def served(folder, node=OTHER):
    """The gateway's application in front of the run."""
    members = [{"name": name, "base_url": "http://127.0.0.1:9/v1"} for name in package.load(folder).members]
    return opened(validate("serve", {"run": str(folder), "gateway": {"members": members}, "backbone": node}))


def refused(folder, node=OTHER):
    with pytest.raises(ErpError) as caught:
        served(folder, node)
    (line,) = caught.value.faults
    return line


def test_what_changes_is_what_a_user_counts(measured, run, table):
    answer, folder = measured
    results = json.loads((folder / "results.json").read_text())
    found = results["drift"]
    split = pd.read_parquet(run / "split.parquet").query("split == 'test'").set_index("prompt_id")
    frame = pd.read_parquet(table)
    frame["prompt_id"] = frame["prompt_id"].astype(str)
    prompts = frame.drop_duplicates("prompt_id").set_index("prompt_id")["prompt"].loc[split.index]
    trained = package.load(run)
    own = trained.route(prompts.tolist())["member"].to_numpy()
    trained.backbone = HashingBackbone(256, ngram_max=2)
    now = trained.route(prompts.tolist())["member"].to_numpy()
    changed = (own != now).astype(float)
    assert 0.02 < changed.mean() < 1
    assert (found["prompts"], found["changed"]["mean"]) == (len(prompts), pytest.approx(changed.mean()))
    rewards = frame.groupby(["prompt_id", "model"])["reward"].mean()
    gained = np.array([rewards[p, b] - rewards[p, a] for p, a, b in zip(prompts.index, own, now, strict=True)])
    assert found["reward"]["mean"] == pytest.approx(gained.mean())
    earned = [rewards[p, b] for p, b in zip(prompts.index, now, strict=True)]
    assert results["policy"]["reward"] == pytest.approx(np.mean(earned))
    before = json.loads((run / "results.json").read_text())
    assert found["cost"]["mean"] == pytest.approx(results["policy"]["cost"] - before["policy"]["cost"])
    assert found["own_r2_pooled"] == pytest.approx(before["prediction"]["r2_pooled"])
    assert found["r2_pooled"] == results["prediction"]["r2_pooled"]
    groups = [np.flatnonzero(split["group_key"] == key) for key in split["group_key"].unique()]
    rng = np.random.default_rng(1)
    draws = [np.concatenate([groups[g] for g in rng.integers(len(groups), size=len(groups))]) for _ in range(2000)]
    for values, section in ((changed, found["changed"]), (gained, found["reward"])):
        low, high = np.quantile([values[at].mean() for at in draws], [0.025, 0.975])
        assert (section["low"], section["high"]) == pytest.approx((low, high), abs=0.2 * (high - low))
    assert results["run"]["backbone"] == "hashing"
    line = next(line for line in answer.out.splitlines() if line.startswith("Asked with hashing instead of hashing"))
    assert f"of {len(prompts)} decisions change, reward changes by" in line
    assert line.split(" (")[0] in (folder / "report.md").read_text()
    assert line.split(" (")[0] in (folder / "report.html").read_text()


def test_its_own_encoder_changes_nothing_and_its_own_report_lies_elsewhere(erp, run, measured):
    own = Path(erp("evaluate", f"run={run}", "backbone=hashing", "backbone.dimensions=256").last)
    plain = Path(erp("evaluate", f"run={run}").last)
    assert len({own, plain, measured[1]}) == 3
    found = json.loads((own / "results.json").read_text())["drift"]
    nothing = {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert (found["changed"], found["reward"], found["cost"]) == (nothing, nothing, nothing)
    assert "drift" not in json.loads((plain / "results.json").read_text())
    assert not (plain / "drift.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["backbone=tfidf"], "backbone = tfidf: learns from train prompts"),
        (["backbone=half", "backbone@backbone.part=tfidf"], "backbone = half_tfidf: learns from train prompts"),
        (["backbone=minilm", "backbone.finetune=true"], "backbone = minilm: learns from train prompts"),
        (["backbone=surface"], "backbone = surface: gives vectors of 16 numbers, and this router reads 256"),
        (["backbone=hashing", "log=somewhere"], "backbone: is of a table; give backbone or log, not both"),
        (["backbone=minilm_onx"], "backbone = minilm_onx: there is no such option"),
    ],
)  # fmt: skip
def test_what_is_no_other_encoder_is_a_line(erp, run, arguments, words):
    answer = erp("evaluate", f"run={run}", *arguments)
    assert answer.code == 2
    (line,) = answer.faults
    assert words in line
    assert not (run / "evaluations").exists()


def test_a_gateway_takes_another_encoder_once_it_is_measured(erp, run, caplog):
    line = refused(run)
    assert line.startswith(f"backbone = hashing: what it changes in the decisions of run = {run} was not measured; ")
    assert f"erp evaluate run={run} backbone=hashing" in line
    assert "reads 256" in refused(run, {**OTHER, "dimensions": 64})
    assert erp("evaluate", f"run={run}", *ASKED).code == 0
    app = served(run)
    (file,) = run.glob("evaluations/*/drift.json")
    kept = json.loads(file.read_text())["measured"][0]
    assert app.gateway.served.drift.drift.changed.mean == kept["drift"]["changed"]["mean"]
    trained = app.gateway.served.predictor.trained
    judge = package.load(run)
    judge.backbone = HashingBackbone(256, ngram_max=2)
    pd.testing.assert_frame_equal(trained.scores(["a b c", "x y"]), judge.scores(["a b c", "x y"]))
    assert "was not measured" in refused(run, {**OTHER, "ngram_max": 3})  # another encoder of that class
    shutil.copy(erp_of_another(erp, run) / "checkpoint.ckpt", run)  # another router in its place
    app._reload()  # what SIGHUP does
    assert "the run is not loaded anew: backbone = hashing" in caplog.text
    assert app.gateway.served.predictor.trained is trained
    file.write_text('{"format": 1, "measured": [{}]}')
    assert "drift.json cannot be read" in refused(run)
    file.write_text('{"format": 7, "measured": []}')
    assert "made by a newer erp" in refused(run)


def erp_of_another(erp, run):
    """A run with the same members and another router."""
    answer = erp("train", f"config={run / 'config.yaml'}", "router.alphas=[1000.0]", "out=others")
    assert answer.code == 0, answer.err
    return Path(answer.last)


def test_what_was_measured_goes_with_an_export(erp, run, measured):
    assert erp("export", f"run={run}", "out=shared").code == 0
    assert served("shared").gateway.served.drift == served(run).gateway.served.drift.model_copy(
        update={"checkpoint": served("shared").gateway.served.drift.checkpoint}
    )
    config = Path("shared/config.json")
    config.write_text(config.read_text().replace('"lambda": 0.0', '"lambda": 0.5'))
    assert "<the run it is of> backbone=hashing, and erp export, or leave it out" in refused("shared")
    shutil.rmtree(run / "evaluations")
    assert erp("export", f"run={run}", "out=shared").code == 0
    assert not Path("shared/drift.json").exists()
    assert "was not measured" in refused("shared")
    assert "note: `erp serve` will not use this encoder by it" in erp("evaluate", f"run={run}", *ASKED, "out=away").out
    assert "was not measured" in refused(run)
