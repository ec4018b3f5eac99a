"""Many runs: a multirun of ours, and a sweep that a W&B agent drives."""

import json
from pathlib import Path

import pytest
import wandb
import yaml
from wandb.sdk.lib import config_util

from erp import cli
from erp.compose import compose
from erp.config import validate
from tests.tracking.offline import QUICK, every, points, recorded

SWEEPS = sorted((Path(__file__).resolve().parents[2] / "experiments/wandb").glob("*.yaml"))


def test_every_job_of_a_multirun_leaves_its_own_run_in_the_sweep_s_group(tmp_path, capsys):
    more = ["router=ridge,mlp,category_mean", "trainer.max_epochs=2"]
    assert cli.main(["train", "-m", *QUICK, f"out={tmp_path}", *more]) == 0, capsys.readouterr().err
    (record,) = tmp_path.glob("sweeps/*.json")
    folders = [Path(run) for run in json.loads(record.read_text())["runs"]]
    assert len(folders) == 3
    runs = [recorded(folder) for folder in folders]
    assert len({run.id for run in runs}) == 3
    for folder, run in zip(folders, runs, strict=True):
        router = yaml.safe_load((folder / "config.yaml").read_text())["router"]["name"]
        results = json.loads((folder / "results.json").read_text())
        assert (run.id, run.group, run.exit_code) == (folder.name[-10:], record.stem, 0)
        assert {f"router={router}", "data=synthetic"} <= set(run.tags)
        assert run.config["router"]["name"] == run.config["choices"]["router"] == router
        epochs = [row["epoch"] for row in run.history if "val/loss" in row]
        assert epochs == ([0, 1] if router == "mlp" else [0])
        assert run.summary["gain"] == pytest.approx(results["policy"]["gain_vs_best_single"]["mean"])
        assert run.table("members")["member"] == results["run"]["members"]
    assert {run.config["choices"]["router"] for run in runs} == {"ridge", "mlp", "category_mean"}


def command(sweep: dict, pick) -> tuple[list[str], dict]:
    """What the agent would run for one choice of the parameters, by W&B's own code, and the choice."""
    from wandb.sdk.launch.sweeps import utils  # takes seconds

    args = {name: {"value": pick(how)} for name, how in sweep["parameters"].items()}
    parts = []
    for part in utils.create_sweep_command(list(sweep["command"])):
        parts += utils.create_sweep_command_args({"args": args})[part[2:-1]] if part.startswith("${") else [part]
    return parts, args


def first(how: dict):
    return how["value"] if "value" in how else how["values"][0] if "values" in how else how["min"]


def last(how: dict):
    return how["value"] if "value" in how else how["values"][-1] if "values" in how else how["max"]


@pytest.mark.parametrize("pick", [first, last])
@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_the_agent_s_command_is_one_that_erp_takes(file, pick):
    sweep = yaml.safe_load(file.read_text())
    assert sweep["metric"] == {"name": "objective/value", "goal": "maximize"}
    parts, args = command(sweep, pick)
    assert parts[:2] == ["erp", "train"]
    container = compose("train", parts[2:])
    config = validate("train", container)
    assert config.tracking.mode == "online"
    for name, chosen in args.items():
        found = container
        for part in name.split("."):
            found = found[part]
        if isinstance(found, dict):
            found = found["name"]
        wanted = chosen["value"]
        assert found == (json.loads(wanted) if str(wanted).startswith("[") else pytest.approx(wanted))


def test_there_is_a_grid_and_a_bayesian_sweep():
    assert {yaml.safe_load(file.read_text())["method"] for file in SWEEPS} == {"grid", "bayes"}


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """A process as W&B's agent starts it, for one job of a sweep."""

    def started(run_id: str, args: dict) -> None:
        wandb.teardown()  # the agent starts a process for each job
        file = tmp_path / f"config-{run_id}.yaml"
        config_util.save_config_file_from_dict(str(file), args)
        for name, value in (
            *(("SWEEP_ID", "sw33p"), ("RUN_ID", run_id), ("PROJECT", "theirs"), ("ENTITY", "team")),
            ("SWEEP_PARAM_PATH", str(file)),
        ):
            monkeypatch.setenv(f"WANDB_{name}", value)

    yield started
    wandb.teardown()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # W&B leaves its sweep's file open
def test_under_an_agent_its_run_is_the_one_that_is_filled(agent, tmp_path, capsys):
    sweep = yaml.safe_load(next(file for file in SWEEPS if file.stem == "knn").read_text())
    parts, args = command(sweep, first)
    overrides = [part for part in parts[2:] if part != "tracking=wandb_online"]
    arguments = ["train", *QUICK, *overrides[1:], f"out={tmp_path}"]
    for run_id in ("agentrun1", "agentrun2"):  # the second finds the run finished
        agent(run_id, args)
        assert cli.main(arguments) == 0
    shown = capsys.readouterr()
    assert "finished already" in shown.out
    assert "W&B" not in shown.err
    assert "Ignoring" not in shown.err
    (folder,) = {path.parent for path in tmp_path.glob("*/results.json")}
    one, two = every(folder)
    assert (one.id, two.id) == ("agentrun1", "agentrun2")
    for run in (one, two):
        assert (run.project, run.group, run.sweep, run.exit_code) == ("theirs", "sw33p", "sw33p", 0)
        assert run.config["router"] == "knn"  # the agent's, in place of the option's content
        assert run.config["choices"]["router"] == "knn"
        (value,) = points(run.history, "objective/value")
        assert run.summary["objective/value"] == pytest.approx(value)
    assert one.summary["gain"] == two.summary["gain"]
