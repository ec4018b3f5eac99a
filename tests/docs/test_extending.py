"""What the examples of parts of one's own compute, once they run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import erp
from erp import cli
from erp.table.read import read_table
from tests.collect.commands import CONF, command, samples
from tests.docs.pages import ROOT, blocks, forget_modules, parsed, write_files, write_tables

EXTENDING, COLLECT = ROOT / "docs/extending.md", ROOT / "docs/collect.md"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERP_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield from forget_modules(tmp_path)


def test_a_reward_model_of_ones_own(tmp_path, capsys):
    shutil.copytree(CONF, tmp_path / "conf")
    arguments = [a for a in command(tmp_path, conf=tmp_path / "conf") if a != "reward_model=letters"]
    write_files(COLLECT, tmp_path)
    assert cli.main([*arguments, "reward_model=brevity"]) == 0, capsys.readouterr().err
    rows = samples(tmp_path, "brevity")
    expected = 100 / (100 + rows["response"].str.len())
    pd.testing.assert_series_equal(rows["reward"], expected, check_names=False)


def test_a_gateway_of_ones_own_is_planned(tmp_path, capsys):
    write_tables(tmp_path)
    (line,) = [line for block in blocks(COLLECT) for line in block.commands if "GATEWAY_KEY engine" in line]
    assert cli.main(parsed(line).arguments[1:]) == 0, capsys.readouterr().err
    assert "3 prompts x 2 members x 8 samples = 48 responses" in capsys.readouterr().out


def test_a_pool_of_ones_own_is_planned_with_its_prices(tmp_path, capsys):
    write_tables(tmp_path)
    write_files(EXTENDING, tmp_path)
    arguments = ["prompts=jsonl", "prompts.path=prompts.jsonl", "pool=mine", "reward_model=verifier_exact"]
    assert cli.main(["collect", "--config-dir", "conf", *arguments, "dry_run=true"]) == 0, capsys.readouterr().err
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    # "What is 0 + 0?" is 14 characters, 4 to a token; 3 prompts x 8 samples, each of the most tokens it can have
    assert lines["large"][3:5] == ["12", f"{3 * 8 * 512:,}"]
    assert float(lines["large"][5]) == pytest.approx((12 * 8 * 0.5 + 3 * 8 * 512 * 0.8) / 1e6, abs=0.005)
    assert lines["large-brief"][4] == f"{3 * 8 * 64:,}"  # its own decoding, before the pool's


def test_a_table_source_of_ones_own(tmp_path, capsys):
    """A sheet and the long file of the same rewards are one table: described alike, and one run."""
    write_tables(tmp_path)
    write_files(EXTENDING, tmp_path)
    long = pd.read_csv("wide.csv").melt(id_vars="prompt", var_name="model", value_name="reward")
    long.to_parquet("long.parquet")
    quick = ["backbone=hashing", "tracking=off", "bootstrap.draws=200", "figures=false"]
    own = ["--config-dir", "conf", "data=wide", "data.path=wide.csv"]
    files = ["data=table", "data.path=long.parquet"]

    def said(*arguments: str, code: int = 0) -> str:
        assert cli.main(list(arguments)) == code
        heard = capsys.readouterr()
        return heard.err if code else heard.out

    assert said("describe", *own, *quick[:1]) == said("describe", *files, *quick[:1])
    run = Path(said("train", *own, *quick).splitlines()[-1])
    assert said("train", *files, *quick).splitlines()[0].startswith("This run is finished already")
    results = json.loads((run / "results.json").read_text())
    assert results["run"]["table"] == "wide.csv"
    assert yaml.safe_load((run / "config.yaml").read_text())["data"] == {
        "name": "wide", "_target_": "wide.Wide", "path": str(tmp_path / "wide.csv"), "separator": ",",
    }  # fmt: skip
    assert "trust=true" in said("evaluate", f"run={run}", code=2)
    again = json.loads(
        (Path(said("evaluate", f"run={run}", "trust=true").splitlines()[-1]) / "results.json").read_text()
    )
    assert again["routing"] == results["routing"]
    assert said("evaluate", f"run={run}", *files)  # what stands in the folder is not built where it is not read
    assert "2 ok, 0 failed" in said("train", "-m", *own, *quick, "router=ridge,knn")


def test_a_source_of_scores_of_ones_own(tmp_path, capsys):
    """The page's example: what nobody knows is missing, and a value that makes no sense is refused by name."""
    write_tables(tmp_path)
    write_files(EXTENDING, tmp_path)
    own = ["import", "--config-dir", "conf", "source=verdicts", "path=verdicts", "out=tables/v"]
    assert cli.main(own) == 0
    assert "4 prompts x 2 members, K = 1, 8 rows" in (said := capsys.readouterr().out)
    assert "2 imported rows have no score: timeout (2)" in said
    table = read_table("tables/v")
    assert table.samples.groupby("member")["reward"].sum().tolist() == [1, 1]  # Q1 of both; Q3 timed out
    (tmp_path / "verdicts" / "large.verdicts").write_text("nonsense\n")
    assert cli.main(own) == 2
    assert "1 rows: a line is no verdict; first: large.verdicts line 1" in capsys.readouterr().err


def test_faults_of_a_table_source_are_named_by_its_key(tmp_path, capsys):
    write_tables(tmp_path)
    write_files(EXTENDING, tmp_path)
    own = ["describe", "--config-dir", "conf", "data=wide", "data.path=wide.csv", "backbone=hashing"]
    wide = (tmp_path / "wide.py").read_text()
    (tmp_path / "wide.py").write_text(wide.replace('value_name="reward"', 'value_name="score"'))
    assert cli.main(own) == 2
    assert "data: no column reward; its columns are prompt, model, score" in capsys.readouterr().err
    assert cli.main([*own, "data.separator=3"]) == 2
    assert "data.separator = 3: input should be a valid string" in capsys.readouterr().err


def test_a_program_of_three_files(tmp_path):
    """The page's example in a clone of erp: listed, helped, run, and refused where a value is wrong."""
    for part in ("erp", "conf"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "mini"))
    shared = tmp_path / "erp/config/programs.py"
    before = shared.read_text()
    write_files(EXTENDING, tmp_path)
    shared.write_text(f"{before}\n\n{shared.read_text()}")
    frame = pd.DataFrame({"prompt": ["easy", "hard", "half"], "model": "m", "reward": [1.0, 0.0, 0.5]})
    pd.concat([frame, frame.assign(model="n", reward=0.0)]).to_csv(tmp_path / "t.csv", index=False)

    def erp_(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-m", "erp", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert "hardest" in erp_("--help").stdout
    assert "count: 10  # how many" in erp_("hardest", "--help").stdout
    said = erp_("hardest", "data=table", "data.path=t.csv", "count=2")
    assert said.stdout.splitlines() == ["0.0000\thard", "0.5000\thalf"], said.stderr
    assert "count = 0: input should be greater than or equal to 1" in erp_("hardest", "count=0").stderr


@pytest.mark.slow
def test_a_backbone_and_a_router_of_ones_own(tmp_path, capsys):
    """The example router is opened again with trust only, and scores as its heads say."""
    write_tables(tmp_path)
    write_files(EXTENDING, tmp_path)
    own = ["data=table", "data.path=scores.parquet", "tracking=off", "bootstrap.draws=200", "trainer.progress=false"]
    own += ["backbone=letters", "router=robust", "trainer.learning_rate=0.01", "trainer.max_epochs=20"]
    assert cli.main(["train", "--config-dir", "conf", *own]) == 0, capsys.readouterr().err
    run = capsys.readouterr().out.strip().splitlines()[-1]
    with pytest.raises(erp.ErpError, match="trust=true"):
        erp.load(run)
    router = erp.load(run, trust=True)
    prompts = ["How many primes are there below 100?", "Write a haiku."]
    vectors = router.backbone.embed(prompts)
    vectors = torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    heads = router.bundle.router.heads
    expected = vectors.double() @ heads.weight.double().T + heads.bias.double()
    np.testing.assert_allclose(router.scores(prompts).to_numpy(), expected.detach().numpy(), atol=1e-5)
