"""What a command loads: the heavy libraries only where they are needed. Importing them is most of a small command."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from erp.cli import main, summaries

COMMAND = "import erp.cli as c; code = c.main(sys.argv[1:])"
OPENED = "import erp; code = 0; [erp.load(run) for run in sys.argv[1:]]"
ENDING = "print(*sys.modules); sys.exit(code)"
TRAINING = {"pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics"}
MODELS = {"transformers", "sentence_transformers", "datasets"}
FITTING = {"sklearn", "scipy"}
HEAVY = {"torch", "sklearn", "scipy.stats", "matplotlib", "wandb", *TRAINING, *MODELS}
# What of these each program may load with figures off and tracking off, where the backbone reads no model.
MAY_LOAD = {
    "collect": set(),
    "compare": set(),
    "dashboard": set(),
    "describe": set(),
    "evaluate": {"torch"},
    "export": {"torch"},
    "import": set(),
    "extend": {"torch"},
    "push": {"torch"},
    "report": set(),
    "route": {"torch"},
    "train": HEAVY - {"wandb", "sentence_transformers", "datasets"},  # Lightning brings its own
}
HASHING = {"sklearn", "scipy.stats"}  # scikit-learn's hashing brings scipy's distributions


@pytest.fixture
def trained(erp, quick, run):
    """A run of a router by its name; that of ridge is there."""

    def of(router: str) -> Path:
        return run if router == "ridge" else Path(erp("train", *quick, f"router={router}", "trainer.max_epochs=1").last)

    return of


def loaded(*arguments, code=COMMAND, **options):
    """Names of the modules that a process has loaded when it ends."""
    command = [sys.executable, "-c", f"import sys; {code}; {ENDING}", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert ended.returncode == 0, ended.stderr
    names = set(ended.stdout.splitlines()[-1].split())
    assert {"erp", "numpy"} <= names
    return names


@pytest.fixture
def commands(run, table, quick, tmp_path):
    """A command of every program; `collect`, `dashboard` and `push` print what they would do."""
    frame = pd.read_parquet(table)
    newcomer = frame[frame["model"] == frame["model"].iloc[0]].assign(model="newcomer")
    pd.concat([frame, newcomer]).to_parquet(more := tmp_path / "more.parquet")
    (wide := tmp_path / "wide.csv").write_text("prompt,small,large\na,0.5,1\n")
    quiet, out = ["figures=false"], f"out={tmp_path / 'others'}"
    return {
        "collect": ["--cfg", "job"],
        "compare": [run, f"out={tmp_path / 'compared'}", *quiet],
        "dashboard": ["--cfg", "job"],
        "describe": ["data=table", f"data.path={table}"],
        "evaluate": [f"run={run}", *quiet],
        "export": [f"run={run}", f"out={tmp_path / 'shared'}"],
        "import": [f"path={wide}", "source.members=[small,large]", f"out={tmp_path / 'imported'}"],
        "extend": [f"run={run}", "data=table", f"data.path={more}", "labels=20", out, *quiet],
        "push": [f"run={run}", "to=me/router", "--cfg", "job"],
        "report": [f"run={run}", *quiet],
        "route": [f"run={run}"],
        "train": [*quick, "split.seed=1", "trainer.progress=false", out, *quiet],
    }


@pytest.mark.parametrize("program", sorted({*summaries()} - {"serve"}))  # which does not end by itself
def test_a_program_loads_what_it_needs(program, commands):
    found = loaded(program, *commands[program], input="What is 2 + 2?\n")
    embeds = HASHING if program in ("extend", "route") else set()  # others find the embeddings in the cache
    assert found & HEAVY <= MAY_LOAD[program] | embeds


def test_a_run_that_is_finished_is_found_without_lightning(run, quick):
    assert not loaded("train", *quick, "figures=false", "trainer.progress=false") & {*TRAINING, *MODELS}


@pytest.mark.parametrize("program", ["report", "compare"])
def test_figures_need_matplotlib_alone(program, commands):
    assert loaded(program, *commands[program][:-1]) & HEAVY == {"matplotlib"}


def test_routing_by_a_network_needs_what_a_closed_form_needs(trained):
    found = loaded("route", f"run={trained('mlp')}", input="What is 2 + 2?\n")
    assert found & HEAVY <= MAY_LOAD["route"] | HASHING


def test_opening_runs_loads_nothing_that_only_fitting_needs(trained):
    runs = [trained(router) for router in ("ridge", "knn", "mlp", "category_mean")]
    exports = [f"shared-{i}" for i in range(len(runs))]
    for run, out in zip(runs, exports, strict=True):
        assert main(["export", f"run={run}", f"out={out}"]) == 0
    unwanted = {"pandas", "pyarrow", "hydra", "wandb", "matplotlib", "huggingface_hub", *TRAINING, *MODELS, *FITTING}
    assert not loaded(*runs, *exports, code=OPENED) & unwanted
    assert not loaded(*(exports[i] for i in (0, 1, 3)), code=OPENED) & {"torch", *unwanted}  # a network needs it


def test_serving_loads_what_routing_loads():
    found = loaded(code="import erp.serving.opening; code = 0")
    assert not found & {"torch", "hydra", "wandb", "matplotlib", "sklearn", *TRAINING, *MODELS}
