"""Questions behind one long context: what is not read is told, with the remedy, and the remedy routes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import erp as package
from erp import cli
from erp.compose import compose
from erp.config import validate
from erp.programs.describe import run as describe
from tests.backbones.tiny_encoders import tiny_encoder
from tests.integration.tables import results

WINDOW = 32
CONTEXT = "once there was a fox and a hen who " * 3  # 78 letters, a token each, for a window of 32
REMEDY = "backbone.long=mean reads all of them"


def frame(prompts=300) -> pd.DataFrame:
    """One member is right where the question's first letter is an early one, the other where it is a late one."""
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("abcdwxyz"), size=6)) for _ in range(prompts)]
    early = np.array([word[0] < "e" for word in words])
    prompts = [CONTEXT + "".join(word[0] for _ in range(60)) + word for word in words]
    parts = [
        pd.DataFrame({"prompt": prompts, "model": model, "reward": right.astype(float), "completion_tokens": 5})
        for model, right in (("left", early), ("right", ~early))
    ]
    return pd.concat(parts).drop_duplicates(["prompt", "model"])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    frame().to_parquet(folder / "scores.parquet")
    tiny_encoder(folder / "weights" / "bert", "bert", "mean")
    return folder


@pytest.fixture
def erp(home, monkeypatch, capsys):
    monkeypatch.chdir(home)

    def run(program, *arguments):
        assert cli.main([program, *arguments]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return run


ENCODER = ["backbone=minilm", "backbone.model=tiny/bert", "weights_dir=weights", "backbone.sha256=null",
           "backbone.package=null", f"+backbone.max_tokens={WINDOW}"]  # fmt: skip
TABLE = ["data=table", "data.path=scores.parquet", "split.near_duplicates=null"]
QUICK = ["tracking=off", "figures=false", "bootstrap.draws=100", "trainer.progress=false", "cache_dir=cache",
         "router=ridge"]  # fmt: skip


def train(erp, *arguments):
    out = erp("train", *TABLE, *ENCODER, *QUICK, *arguments)
    return out, out.strip().splitlines()[-1]


def test_a_run_says_what_was_not_read_and_why_it_does_not_route(erp):
    out, folder = train(erp)
    said = f"minilm reads {WINDOW} tokens at once, and 100% of the prompts are longer and lose their end"
    alike = "100% of the distinct prompts are to minilm exactly like another, so that no router can tell them apart"
    for text in (out, (Path(folder) / "report.md").read_text()):
        assert said in " ".join(text.split())
        assert alike in text
        assert REMEDY in text
    assert results(folder)["data"]["reading"] == {"window": WINDOW, "long": "head", "cut": 1.0, "alike": 1.0}
    assert results(folder)["routing"]["router"]["constant_member"] is not None


@pytest.mark.parametrize("long", ["tail", "mean"])
def test_the_remedy_routes_and_route_reads_as_the_run_did(erp, long):
    out, folder = train(erp, f"backbone.long={long}")
    found = results(folder)
    assert found["routing"]["router"]["reward"] > 0.9
    assert found["data"]["reading"] == {"window": WINDOW, "long": long, "cut": float(long == "tail"), "alike": 0.0}
    assert ("lose their beginning" in out) == (long == "tail")
    trained = package.load(folder, weights_dir="weights")
    prompts = frame()["prompt"].unique()
    predicted = trained.scores(list(prompts))
    right = predicted["left"].to_numpy() > predicted["right"].to_numpy()
    assert (right == [prompt[len(CONTEXT)] < "e" for prompt in prompts]).mean() > 0.9
    lines = [json.dumps({"prompt": prompt}) for prompt in prompts[:20]]
    Path("prompts.jsonl").write_text("\n".join(lines))
    routed = erp("route", f"run={folder}", "input=prompts.jsonl", "output=json", "weights_dir=weights")
    members = [json.loads(line)["member"] for line in routed.splitlines()]
    assert members == ["left" if r else "right" for r in right[:20]]


def test_evaluate_says_it_too(erp):
    _, folder = train(erp)
    out = erp("evaluate", f"run={folder}", "data=same", "cache_dir=cache", "weights_dir=weights")
    assert "lose their end" in out
    assert REMEDY in out


def test_describe_tells_before_anything_is_embedded(erp, monkeypatch):
    from erp.backbones.sentence_transformer import SentenceTransformerBackbone

    monkeypatch.setattr(SentenceTransformerBackbone, "_load", lambda self: pytest.fail("weights were loaded"))
    common = ["describe", "data=table", "data.path=scores.parquet", "bootstrap.draws=100", *ENCODER]
    text = erp(*common)
    assert f"minilm reads {WINDOW} tokens at once, and 100% of the prompts are longer and lose their end" in text
    assert REMEDY in text
    facts = json.loads(erp(*common, "output=json"))["reading"]
    distinct = frame()["prompt"].nunique()
    assert facts == {"backbone": "minilm", "long": "head", "window": WINDOW, "cut": 1.0, "alike": 1.0,
                     "prompts": distinct, "reason": None}  # fmt: skip
    whole = json.loads(erp(*common, "backbone.long=mean", "output=json"))["reading"]
    assert (whole["cut"], whole["alike"]) == (0.0, 0.0)
    tail = json.loads(erp(*common, "backbone.long=tail", "output=json"))["reading"]
    assert (tail["cut"], tail["alike"]) == (1.0, 0.0)


def test_describe_says_nothing_where_all_is_read_and_skips_what_is_not_there(erp, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", _offline)
    common = ["describe", "data=synthetic", "data.prompts=50", "bootstrap.draws=100"]
    assert "tokens at once" not in erp(*common, "backbone=hashing")
    out = erp(*common, "backbone.model=nobody/none", "backbone.package=null", "backbone.sha256=null")
    assert "how much of the prompts minilm reads is not known: " in out
    assert "nobody/none" in out


def _offline(*_, local_files_only=False, **__):
    assert local_files_only, "describe must not download"
    raise FileNotFoundError("not in the cache")


def test_describe_looks_at_so_many_prompts_of_a_large_table():
    from erp.backbones.reading import MOST, what_is_read

    config = validate("describe", compose("describe", []))
    prompts = [f"prompt number {i}" + " word" * (300 * (i % 2)) for i in range(3 * MOST)]
    facts = what_is_read(config.backbone, None, prompts)
    if facts["reason"] is None:
        assert facts["prompts"] == MOST
        assert facts["cut"] == pytest.approx(0.5, abs=0.05)
    assert "reading" in describe(config)
