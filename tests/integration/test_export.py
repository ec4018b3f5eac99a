"""`erp export`: a folder that is asked as the run is, in a process that has nothing of training, with a card."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from erp.config import validate
from erp.report.summary import plain_summary
from erp.results import whole
from erp.runs import RunFolder
from erp.serving.opening import opened

FILES = {"router.safetensors", "config.json", "README.md", "origin.json"}
# A machine without what training and its reports need.
ASK = """
import sys
for name in ("pytorch_lightning", "torchmetrics", "wandb", "matplotlib"):
    sys.modules[name] = None
import erp.cli
sys.exit(erp.cli.main(sys.argv[1:]))
"""


@pytest.fixture
def shared(erp, run):
    answer = erp("export", f"run={run}", "out=shared")
    assert (answer.code, answer.out, answer.err) == (0, "shared\n", "")
    return Path("shared")


def test_a_fresh_process_without_training_s_libraries_decides_bit_for_bit_as_the_run(erp, run, shared, monkeypatch):
    assert {file.name for file in shared.iterdir()} == FILES
    prompts = [f"{word} {number}" for word in ("What is", "prove", "naïve") for number in range(40)]
    given, command = "\n".join(prompts).encode(), [sys.executable, "-c", ASK, "route", "run=shared", "output=json"]
    ended = subprocess.run(command, input=given, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = ended.stdout.decode()  # numbers are written so that they are read back exactly
    assert len(found.splitlines()) == len(prompts)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
    assert found == erp("route", f"run={run}", "output=json").out


def test_the_card_says_what_is_routed_and_what_it_is_worth(run, shared):
    card = (shared / "README.md").read_text()
    results = whole(RunFolder(run).load_results())
    for line in plain_summary(results).splitlines():
        assert line in card
    assert card.startswith("---\nlibrary_name: erp\n")  # what a hub reads
    for word in (*results.run.members, results.run.reward_model, "## Limits", "95% CI", "| **ridge** (the router) "):
        assert word in card
    assert str(Path.cwd()) not in card
    for file in FILES - {"router.safetensors"}:  # nothing of this machine is told
        told = (shared / file).read_text()
        for word in ("https://arxiv.org/abs/", "input / output", "hf://<owner>/<name>"):
            told = told.replace(word, "")
        assert "/" not in told


def test_a_gateway_opens_it(run, shared):
    prices = {name: {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0} for name in
              json.loads((shared / "config.json").read_text())["card"]["members"]}  # fmt: skip
    (shared / "origin.json").write_text(json.dumps({"table": "", "members": prices}))
    members = [{"name": name, "base_url": "http://127.0.0.1:9/v1"} for name in prices]
    gateway = {"members": members, "budget": {"usd_per_day": 1}}  # which needs the prices
    app = opened(validate("serve", {"run": str(shared), "gateway": gateway}))
    assert list(app.gateway.served.predictor.members) == list(prices)


def test_only_an_export_is_written_over(erp, run, shared):
    before = (shared / "router.safetensors").read_bytes()
    assert erp("export", f"run={run}", "out=shared").code == 0
    assert (shared / "router.safetensors").read_bytes() == before
    for folder in (run, run.parent):
        answer = erp("export", f"run={run}", f"out={folder}")
        assert answer.code == 2
        (line,) = answer.faults
        assert line.startswith(f"erp export: out = {folder}: holds ")
    assert not (run / "README.md").exists()


def test_what_cannot_be_exported_is_a_line(erp, run, shared):
    for folder, words in {"nowhere": "there is no such folder", "shared": "is an export already"}.items():
        answer = erp("export", f"run={folder}", "out=other")
        assert answer.code == 2
        (line,) = answer.faults
        assert words in line
    broken = shutil.copytree(run, Path("broken"))
    results = json.loads((broken / "results.json").read_text())
    results["data"]["test"] = "many"
    (broken / "results.json").write_text(json.dumps(results))
    answer = erp("export", f"run={broken}", "out=other")
    assert (answer.code, len(answer.faults)) == (2, 1)
    assert not Path("other").exists()


def test_what_needs_more_than_a_router_says_so(erp, shared):
    for program in ("evaluate", "report"):
        answer = erp(program, "run=shared")
        assert (answer.code, len(answer.faults)) == (2, 1)
