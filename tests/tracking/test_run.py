"""One W&B run for one run folder: its identity, how it ends, and that it never is why a run fails."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
import yaml

from erp.config import Tracking
from erp.errors import ErpError
from erp.formats.run import RUN
from erp.programs import train as program
from erp.tracking import tracked
from erp.training import learn
from tests.tracking.offline import QUICK, every, points, quick, recorded

CONFIG = {
    "router": {"name": "ridge"},
    "backbone": {"name": "hashing"},
    "policy": {},
    "data": {"name": "mini"},
    "pool": {"members": None},
    "seed": 3,
}
TABLE = SimpleNamespace(reward_model="verifier", members=("a",), prompts=["p"], fingerprint=lambda: "f" * 64)


def opened(folder, tracking=None, **config):
    return tracked(tracking or Tracking(), folder, CONFIG | config, TABLE, "mini")


def test_a_run_has_the_id_name_group_tags_and_config_of_its_folder(trained):
    result, run = trained
    assert run.id == result.folder.name[-10:]
    assert (run.name, run.group, run.project) == (result.folder.name, "abcd", "mine")
    assert (run.job_type, run.exit_code) == ("train", 0)
    chosen = {"router": "mlp", "backbone": "hashing", "policy": "lambda", "pool": "all", "data": "synthetic"}
    chosen["reward_model"] = result.results["run"]["reward_model"]
    assert run.config.pop("choices") == chosen
    assert {"format": RUN.number, **run.config} == yaml.safe_load((result.folder / "config.yaml").read_text())
    assert run.tags[0] == "first"
    assert set(run.tags[1:]) == {f"{group}={name}" for group, name in chosen.items()}


def test_training_is_there_epoch_by_epoch(trained):
    _, run = trained
    for key, best in (("val/loss", min), ("train/loss", min), ("val/r2", max)):
        rows = [row for row in run.history if key in row]
        assert points(rows, "epoch") == [0, 1, 2, 3]
        assert run.summary[key] == {best.__name__: pytest.approx(best(points(rows, key)))}
        (metric,) = [metric for metric in run.of("metric") if metric.get("name") == key]
        assert metric["step_metric"] == "epoch"
    assert points(run.history, "train/loss")[-1] < points(run.history, "train/loss")[0]


def test_off_leaves_no_trace(tmp_path):
    with opened(tmp_path, Tracking(mode="off")) as tracker:
        tracker.log({"val/loss": 1.0})
        tracker.log_results({"not": "read"})
    assert not (tmp_path / "wandb").exists()


def test_two_runs_in_one_process_are_two(tmp_path):
    for seed in (1, 2):
        with opened(tmp_path / f"runs-000000000{seed}", seed=seed):
            pass
    one, two = recorded(tmp_path / "runs-0000000001"), recorded(tmp_path / "runs-0000000002")
    assert (one.id, one.name, one.config["seed"]) == ("0000000001", "runs-0000000001", 1)
    assert (two.id, two.name, two.config["seed"]) == ("0000000002", "runs-0000000002", 2)
    assert one.group is None
    assert one.tags == ["router=ridge", "backbone=hashing", "reward_model=verifier", "pool=all", "data=mini"]


def test_a_copy_lies_in_its_run_folder_wherever_w_b_s_service_was_started(tmp_path, monkeypatch):
    for name in ("one", "two"):  # the service that the first run starts serves the second too
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with opened(Path("runs-0000000001")):
            pass
        assert recorded(tmp_path / name / "runs-0000000001").name == "runs-0000000001"


def test_a_run_that_fails_is_finished_and_the_next_is_a_new_one(tmp_path):
    with pytest.raises(ZeroDivisionError), opened(tmp_path / "bad"):
        raise ZeroDivisionError
    with opened(tmp_path / "good"):
        pass
    assert (recorded(tmp_path / "bad").exit_code, recorded(tmp_path / "good").exit_code) == (1, 0)
    assert recorded(tmp_path / "good").name == "good"


def test_a_run_that_goes_on_goes_on_under_its_id(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(program, "write_report", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            quick(tmp_path)
    result = quick(tmp_path)
    assert result.fresh
    (copy,) = every(result.folder)  # two files of one id would be two halves that overwrite each other on a server
    assert copy.id == result.folder.name[-10:]
    assert copy.exit_code == 0
    assert "gain" in copy.summary
    assert copy.of("run")[0]["resume"]


def test_epochs_before_a_kill_stand_in_the_one_copy_too(tmp_path, monkeypatch):
    network = ["router=mlp", "router.hidden=[4]", "trainer.max_epochs=6", "trainer.patience=6"]
    whole = quick(tmp_path / "whole", *network)

    class Dying(learn.RoutingModule):
        def on_train_epoch_start(self):
            if self.current_epoch == 4:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learn, "RoutingModule", Dying)
        with pytest.raises(KeyboardInterrupt):
            quick(tmp_path / "killed", *network)
    again = quick(tmp_path / "killed", *network)
    (copy,), (unbroken,) = every(again.folder), every(whole.folder)
    histories = [[row["val/loss"] for row in one.history if "val/loss" in row] for one in (copy, unbroken)]
    assert len(histories[1]) == 6
    assert histories[0] == histories[1]


def test_a_run_made_without_a_copy_gets_it_when_it_is_asked_for_again(tmp_path):
    made = quick(tmp_path, "tracking=off")
    assert not (made.folder / "wandb").exists()
    found = quick(tmp_path)
    assert not found.fresh
    assert recorded(found.folder).summary["gain"] == pytest.approx(
        made.results["policy"]["gain_vs_best_single"]["mean"]
    )
    quick(tmp_path)
    (copy,) = every(found.folder)  # once is enough
    for file in found.folder.glob("wandb/*/*.wandb"):  # as when W&B was killed before it wrote it
        file.unlink()
    quick(tmp_path)
    assert every(found.folder)[-1].summary["gain"] == copy.summary["gain"]


def test_without_artifacts_nothing_of_single_prompts_is_sent(tmp_path):
    run = recorded(quick(tmp_path, "tracking.artifacts=false").folder)
    assert "gain" in run.summary
    assert not any(key.startswith("tables/predictions") for key in run.summary)
    assert any(key.startswith("tables/curves") for key in run.summary)


def test_a_long_choice_becomes_a_tag_that_is_taken(tmp_path):
    members = [{"name": f"organisation/model-{i}-instruct"} for i in range(5)]
    with opened(tmp_path / "one", pool={"members": members}, router={"name": "r" * 80}):
        pass
    with opened(tmp_path / "two", pool={"members": [{"name": "model-0"}, {"name": "model-1"}]}):
        pass
    one, two = recorded(tmp_path / "one"), recorded(tmp_path / "two")
    assert max(map(len, one.tags)) == 64
    assert one.config["choices"]["pool"].startswith("5 members, organisation/model-0-instruct")
    assert two.config["choices"]["pool"] == "model-0+model-1"


def test_online_without_a_login_is_one_line(tmp_path):
    with pytest.raises(ErpError) as refused, opened(tmp_path, Tracking(mode="online")):
        raise AssertionError("is not reached")
    (fault,) = refused.value.faults
    assert "\n" not in fault
    assert all(word in fault for word in ("tracking.mode = online", "wandb login", "tracking=wandb", "tracking=off"))


# What W&B does not take.


def refuse(*_, **__):
    raise OSError("No space left on device")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("log", 7),  # metrics, headline, four tables, figures
        ("_log_artifact", 6),  # of the table and the router, and W&B's own of four tables
        ("define_metric", 1),
        ("finish", 1),
    ],
)
def test_a_copy_that_fails_does_not_fail_the_run(part, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(wandb.Run, part, refuse)
    drawn = f"figures={str(part == 'log').lower()}"
    result = quick(tmp_path, "router=mlp", "router.hidden=[4]", "trainer.max_epochs=2", drawn)
    lines = capsys.readouterr().err.splitlines()
    assert result.results["routing"]
    assert all("No space left on device" in line and line.startswith("W&B did not") for line in lines)
    assert len(lines) == len(set(lines)) == said
    monkeypatch.undo()
    if wandb.run is not None:
        wandb.run.finish()


def test_a_copy_that_cannot_begin_does_not_fail_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(wandb, "init", refuse)
    assert quick(tmp_path).results["routing"]
    assert capsys.readouterr().err == "W&B did not start (No space left on device); the run goes on without it\n"


@pytest.mark.slow
def test_a_service_that_dies_does_not_take_the_run_with_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
            import os, subprocess, sys
            from erp.programs import train as program
            fitted = program._fit_and_test
            def killing(*arguments):
                command = ["ps", "--ppid", str(os.getpid()), "-o", "pid=,comm="]
                shown = subprocess.run(command, capture_output=True, text=True).stdout
                (core,) = [line.split()[0] for line in shown.splitlines() if "wandb-core" in line]
                os.kill(int(core), {int(signal.SIGKILL)})
                return fitted(*arguments)
            program._fit_and_test = killing
            program.train({[*QUICK, f"out={tmp_path}", "router=mlp", "trainer.max_epochs=20"]!r})
            print("done")
            """)
    )
    alone = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}  # with a service of its own
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=alone, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert "W&B did not take the headline" in done.stderr
    assert len(list(tmp_path.glob("*/results.json"))) == 1
