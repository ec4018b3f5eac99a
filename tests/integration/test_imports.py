"""What a command loads: the heavy libraries only where they are needed. Importing them is most of a small command."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from erp.cli import main, summaries

# One process runs one command after the other, and says after each what is loaded by then.
COMMANDS = """
import io, json, sys
import erp.cli
for command in json.load(sys.stdin):
    print(*command)
    sys.stdin = io.TextIOWrapper(io.BytesIO(b"What is 2 + 2?\\n"))
    code = erp.cli.main(command)
    print("loaded:", code, *sys.modules)
"""
OPENED = """
import json, sys
import erp
for runs in json.load(sys.stdin):
    for run in runs:
        erp.load(run)
    print("loaded:", 0, *sys.modules)
"""
SERVING = """
import sys
import erp.serving.opening
print("loaded:", 0, *sys.modules)
"""
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
    "show": set(),
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


def loaded(code, **options):
    """Names of the modules that a process has loaded, each time that it says so."""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **options)
    assert ended.returncode == 0, ended.stderr
    said = [line.split() for line in ended.stdout.splitlines() if line.startswith("loaded: ")]
    assert {code for _, code, *_ in said} == {"0"}, ended.stderr
    assert {"erp", "numpy"} <= set(said[0])
    return [set(names) for _, _, *names in said]


def run_in_turn(*commands):
    """What is loaded after each of the commands, in one process."""
    given = [[str(word) for word in command] for command in commands]
    found = loaded(COMMANDS, input=json.dumps(given))
    assert len(found) == len(given)
    return found


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
        "show": ["worst=1"],
        "train": [*quick, "split.seed=1", "trainer.progress=false", out, *quiet],
    }


def test_a_program_loads_what_it_needs(commands, trained, quick):
    """A program that may load more comes later: nothing that one loads is excused by one before."""
    programs = sorted({*summaries()} - {"serve"}, key=lambda name: (len(may_load(name)), name))  # serve does not end
    asked = [[program, *commands[program]] for program in programs]
    # Between routing and training: routing by a network, and a run that is finished already.
    more = [["route", f"run={trained('mlp')}"], ["train", *quick, "figures=false", "trainer.progress=false"]]
    *found, network, finished, fit = run_in_turn(*asked[:-1], *more, asked[-1])
    assert programs[-1] == "train"
    for program, names in zip(programs, [*found, fit], strict=True):
        assert names & HEAVY <= may_load(program), program
    assert network & HEAVY <= may_load("route")
    assert not finished & {*TRAINING, *MODELS}


def may_load(program):
    """Beside its own: where the embeddings are not in the cache, what the backbone reads with."""
    return MAY_LOAD[program] | (HASHING if program in ("extend", "route") else set())


def test_figures_need_matplotlib_alone(commands):
    report, compare = run_in_turn(*([program, *commands[program][:-1]] for program in ("report", "compare")))
    assert report & HEAVY == compare & HEAVY == {"matplotlib"}


def test_opening_runs_loads_nothing_that_only_fitting_needs(trained):
    runs = [trained(router) for router in ("ridge", "knn", "mlp", "category_mean")]
    exports = [f"shared-{i}" for i in range(len(runs))]
    for run, out in zip(runs, exports, strict=True):
        assert main(["export", f"run={run}", f"out={out}"]) == 0
    unwanted = {"pandas", "pyarrow", "hydra", "wandb", "matplotlib", "huggingface_hub", *TRAINING, *MODELS, *FITTING}
    given = [[exports[i] for i in (0, 1, 3)], [*map(str, runs), *exports]]
    closed_forms, all_of_them = loaded(OPENED, input=json.dumps(given))
    assert not closed_forms & {"torch", *unwanted}  # a network needs it
    assert not all_of_them & unwanted


def test_serving_loads_what_routing_loads():
    (found,) = loaded(SERVING)
    assert not found & {"torch", "hydra", "wandb", "matplotlib", "sklearn", *TRAINING, *MODELS}
