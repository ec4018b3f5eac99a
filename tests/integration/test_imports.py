"""What a command loads: the heavy libraries only where they are needed."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

COMMAND = "import erp.cli as c; code = c.main(sys.argv[1:])"
OPENED = "import erp; erp.load(sys.argv[1]); code = 0"
ENDING = "print(*{name.partition('.')[0] for name in sys.modules}); sys.exit(code)"
TRAINING = {"pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics"}
MODELS = {"transformers", "sentence_transformers", "datasets"}
FITTING = {"sklearn", "scipy"}


@pytest.fixture
def run(erp, quick, request):
    return Path(erp("train", *quick, f"router={getattr(request, 'param', 'ridge')}", "trainer.max_epochs=1").last)


def loaded(*arguments, code=COMMAND, **options):
    """Names of the packages that a process has loaded when it ends."""
    command = [sys.executable, "-c", f"import sys; {code}; {ENDING}", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert ended.returncode == 0, ended.stderr
    names = set(ended.stdout.splitlines()[-1].split())
    assert {"erp", "pandas"} <= names
    return names


@pytest.mark.parametrize("program", ["report", "compare"])
def test_reading_results_needs_no_torch(run, program, tmp_path):
    given = [f"run={run}"] if program == "report" else [str(run), f"out={tmp_path / 'compared'}"]
    assert not loaded(program, *given) & {"torch", "sklearn", *TRAINING, *MODELS}


@pytest.mark.parametrize("run", ["ridge", "mlp"], indirect=True)
def test_routing_needs_neither_lightning_nor_what_the_backbone_does_not_read(run):
    found = loaded("route", f"run={run}", input="What is 2 + 2?\n")
    assert "torch" in found
    assert not found & {"wandb", "matplotlib", *TRAINING, *MODELS}


@pytest.mark.parametrize("run", ["ridge", "knn", "mlp", "category_mean"], indirect=True)
def test_opening_a_run_loads_nothing_that_only_fitting_needs(run):
    assert not loaded(run, code=OPENED) & {"hydra", "wandb", "matplotlib", *TRAINING, *MODELS, *FITTING}


def test_testing_a_run_again_needs_no_lightning(run):
    assert not loaded("evaluate", f"run={run}") & TRAINING


def test_a_member_joins_without_lightning(run, table, tmp_path):
    frame = pd.read_parquet(table)
    newcomer = frame[frame["model"] == frame["model"].iloc[0]].assign(model="newcomer")
    pd.concat([frame, newcomer]).to_parquet(tmp_path / "more.parquet")
    more = ["data=table", f"data.path={tmp_path / 'more.parquet'}", "labels=20", f"out={tmp_path / 'runs'}"]
    assert not loaded("extend", f"run={run}", *more) & TRAINING
