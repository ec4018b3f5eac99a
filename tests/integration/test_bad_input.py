"""Every kind of bad input: one clear line per fault and exit code 2, or a documented result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.integration.conftest import arguments_of
from tests.integration.tables import long_frame, results


def refused(answer, *words):
    """Exit code 2, no traceback, exactly one line, and it says these things."""
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert len(answer.faults) == 1, answer.err
    for word in words:
        assert word in answer.faults[0]
    return True


def saved(frame, tmp_path, name="bad.parquet"):
    path = tmp_path / name
    frame.to_parquet(path)
    return path


def train_on(erp, path, *more):
    return erp("train", *arguments_of(path), *more)


def test_typo_in_a_key(erp, quick):
    assert refused(erp("train", *quick, "sed=3"), "sed = 3", "seed")


def test_typo_in_a_key_with_plus(erp, quick):
    assert refused(erp("train", *quick, "+sed=3"), "sed = 3", "no such key", "did you mean seed")


def test_typo_in_a_nested_key(erp, quick):
    assert refused(erp("train", *quick, "router.alpha=3"), "router.alpha = 3", "no such key")


def test_unknown_option_of_a_group(erp, quick):
    assert refused(erp("train", *quick, "router=rigde"), "router = rigde", "ridge", "knn", "category_mean")


def test_wrong_type(erp, quick):
    assert refused(erp("train", *quick, "seed=many"), "seed = many", "integer")


def test_wrong_type_of_a_plug_points_argument(erp, quick):
    assert refused(erp("train", *quick, "router=knn", "router.k=few"), "router.k = few", "integer")


def test_two_faults_in_one_command_are_both_named(erp, quick):
    answer = erp("train", *quick, "seed=many", "rooter=knn", "+typo=5")
    assert answer.code == 2
    assert len(answer.faults) == 3
    assert all(any(word in fault for fault in answer.faults) for word in ("seed = many", "rooter = knn", "typo = 5"))


def test_a_fault_of_a_plug_point_and_one_of_the_table_are_both_named(erp, tmp_path):
    answer = train_on(erp, tmp_path / "nowhere.parquet", "router=knn", "router.k=few")
    assert answer.code == 2
    assert len(answer.faults) == 2
    assert "router.k = few" in answer.err
    assert "nowhere.parquet" in answer.err


def test_unknown_member(erp, quick):
    answer = erp("train", *quick, "pool.members=[{name: synthetic-1b}, {name: gpt-9}]")
    assert refused(answer, "gpt-9", "synthetic-3b")


def test_missing_column(erp, tmp_path):
    path = saved(long_frame().rename(columns={"reward": "score"}), tmp_path)
    assert refused(train_on(erp, path), "reward", "score", "data.columns")
    renamed = train_on(erp, path, "data.columns={reward: score}")
    assert renamed.code == 0


def test_nan_rewards_are_missing_and_counted(erp, tmp_path):
    frame = long_frame()
    frame.loc[[0, 1, 7], "reward"] = [np.nan, np.inf, np.nan]
    answer = train_on(erp, saved(frame, tmp_path))
    assert answer.code == 0
    notes = " ".join(results(answer.last)["data"]["notes"])
    assert "3 of 1,440 rewards are not finite" in notes


def test_empty_table(erp, tmp_path):
    assert refused(train_on(erp, saved(long_frame().iloc[:0], tmp_path)), "bad.parquet", "empty")


def test_a_reward_that_is_no_number(erp, tmp_path):
    frame = long_frame().astype({"reward": object})
    frame["reward"] = frame["reward"].astype(str)
    frame.loc[4, "reward"] = "good"
    frame.to_json(tmp_path / "bad.jsonl", orient="records", lines=True)
    assert refused(train_on(erp, tmp_path / "bad.jsonl"), "row 4", "reward", "good")


def test_one_member_trains_and_says_that_there_is_nothing_to_route(erp, quick):
    answer = erp("train", *quick, "pool.members=[{name: synthetic-1b}]")
    assert answer.code == 0
    found = results(answer.last)
    assert found["routing"]["router"]["headroom_recovered"] is None
    assert found["routing"]["router"]["gain_vs_best_single"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert found["audc"]["router"] is None
    assert "nothing to route" in found["verdict"]


def test_equal_rewards_train_and_have_no_r2(erp, tmp_path):
    answer = train_on(erp, saved(long_frame().assign(reward=0.5), tmp_path))
    assert answer.code == 0
    found = results(answer.last)
    assert found["prediction"]["r2_pooled"] is None
    assert found["routing"]["router"]["headroom_recovered"] is None
    assert found["routing"]["router"]["reward"] == 0.5


def test_missing_file(erp, tmp_path):
    assert refused(train_on(erp, tmp_path / "nowhere.parquet"), "nowhere.parquet", "no such file")


def test_unreadable_checkpoint(erp, run):
    (run / "checkpoint.ckpt").write_bytes(b"not a checkpoint")
    assert refused(erp("evaluate", f"run={run}"), "checkpoint.ckpt", "cannot be read")


def test_no_run_there(erp):
    assert refused(erp("evaluate", "run=runs/none"), "runs/none", "no such folder")


def test_equal_prompts_on_both_sides_of_the_tables_own_split(erp, tmp_path):
    frame = long_frame()
    ids = sorted(frame["prompt_id"].unique())
    frame["split"] = np.where(frame["prompt_id"].isin(ids[:120]), "train", "test")
    text = frame.loc[frame["prompt_id"] == ids[0], "prompt"].iloc[0]
    frame.loc[frame["prompt_id"] == ids[200], "prompt"] = f"  {text.upper()} "
    path = saved(frame, tmp_path)
    assert refused(train_on(erp, path, "split.by=table"), "split.by", "drop_from_train")
    dropped = train_on(erp, path, "split.by=table", "split.overlap=drop_from_train")
    assert dropped.code == 0
    assert results(dropped.last)["data"]["train"] + results(dropped.last)["data"]["validation"] == 119
    grouped = train_on(erp, path)
    assert grouped.code == 0


def test_a_router_that_reads_the_category_of_a_table_without_one(erp, tmp_path):
    path = saved(long_frame().drop(columns="category"), tmp_path)
    assert refused(train_on(erp, path, "router=category_mean"), "router = category_mean", "category", "ridge")
    without = train_on(erp, path)
    assert results(without.last)["routing"]["category_mean"] is None


def test_a_cost_that_cannot_be_had(erp, tmp_path):
    path = saved(long_frame().drop(columns=["cost_usd", "completion_tokens"]), tmp_path)
    assert refused(train_on(erp, path, "cost=usd"), "cost", "synthetic-1b")
    assert results(train_on(erp, path).last)["cost"]["kind"] == "none"


def test_the_policys_lambda_is_checked(erp, quick):
    assert refused(erp("train", *quick, "policy.lambda=-1"), "lambda = -1")


def test_a_table_of_other_members_is_refused_by_evaluate(erp, run, tmp_path):
    other = saved(long_frame(seed=5).replace({"model": {"synthetic-1b": "stranger"}}), tmp_path, "other.parquet")
    assert refused(erp("evaluate", f"run={run}", "data=table", f"data.path={other}"), "synthetic-1b")


def test_not_key_equals_value(erp):
    assert refused(erp("train", "ridge"), "ridge: is not key=value")


def test_unknown_program(erp):
    answer = erp("trian")
    assert answer.code == 2
    assert "train" in answer.err


# Through a real process: the exit code, and nothing but the line on stderr.


def process(*arguments, cwd, **extra):
    environment = {**os.environ, "ERP_CACHE": str(cwd / "cache"), **extra}
    command = [sys.executable, "-m", "erp", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "sed=3", "+typo=5"], ["sed = 3", "typo = 5"]),
        (["describe", "data=table", "data.path=nowhere.parquet"], ["nowhere.parquet"]),
        (["describe", "data=table"], ["data.path: is required"]),
    ],
)
def test_through_a_real_process(arguments, words, tmp_path):
    done = process(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines, strict=True))
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_goes_on_when_started_again(erp, tmp_path, monkeypatch):
    """SIGKILL while prompts are embedded; the same command then finishes, and embeds only the rest."""
    killer = tmp_path / "killer.py"
    killer.write_text(
        "import os, signal\n"
        "from erp.backbones.hashing import HashingBackbone\n"
        "class Killer(HashingBackbone):\n"
        "    calls, at_once = 0, 64\n"
        "    def __init__(self, dimensions: int = 256) -> None:\n"
        "        super().__init__(dimensions)\n"
        "    def embed(self, prompts):\n"
        "        Killer.calls += 1\n"
        "        if Killer.calls == 2 and os.environ.get('KILL'):\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        print('embedded', len(prompts))\n"
        "        return super().embed(prompts)\n"
    )
    command = [
        "train", "data=synthetic", "data.prompts=100", "data.samples=1", "backbone._target_=killer.Killer",
        "~backbone.ngram_max", "backbone=hashing", "tracking=off", "bootstrap.draws=200", "trainer.progress=false",
        "figures=false",
    ]  # fmt: skip
    killed = process(*command, cwd=tmp_path, KILL="1", PYTHONPATH=str(tmp_path))
    assert killed.returncode == -9
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "status.json").read_text()) == {"status": "running"}
    assert not (folder / "results.json").exists()
    monkeypatch.syspath_prepend(tmp_path)
    again = erp(*command)
    assert again.code == 0, again.err
    assert "embedded 36" in again.out  # 64 of the 100 were kept
    assert "embedded 64" not in again.out
    assert json.loads((folder / "status.json").read_text()) == {"status": "ok"}
    assert len(pd.read_parquet(folder / "predictions.parquet")) == 5 * sum(
        results(folder)["data"][part] for part in ("validation", "test")
    )


@pytest.mark.parametrize(
    "choice", ["null", "5", "", "true", "[ridge,knn]", "[null]", "[]"], ids=lambda text: text or "empty"
)
def test_a_choice_that_is_no_options_name(erp, quick, choice):
    assert refused(erp("train", *quick, f"router={choice}"), "router = ", "is no option", "ridge, ", "or leave it out")


def test_a_choice_that_is_no_options_name_in_a_sweep(erp, quick):
    assert refused(erp("train", "-m", *quick, "router=null,ridge"), "router = null", "is no option")
    assert refused(erp("train", "-m", *quick, "experiment=null", "router=knn,ridge"), "experiment = null")


def test_hydras_own_groups_name_their_options(erp, quick):
    assert refused(erp("train", *quick, "hydra/launcher=nope"), "hydra/launcher = nope", "basic", "joblib")
    assert refused(erp("train", *quick, "+router=ridge"), "+router: is there already; leave out the +")


@pytest.mark.parametrize("name", ["null", "5", "''", "[a]", "{a: 1}"])
@pytest.mark.parametrize("group", ["backbone", "router", "policy"])
def test_a_label_that_is_no_text(erp, quick, group, name):
    assert refused(erp("train", *quick, f"{group}.name={name}"), f"{group}", "give a text")


@pytest.mark.parametrize(
    ("key", "value"),
    [("bootstrap.draws", "99999999"), ("category_block", "1e308"), ("category_block", "inf"),
     ("backbone.dimensions", "99999999999999999999"), ("data.columns", "[]")],
)  # fmt: skip
def test_sizes_that_no_machine_holds(erp, tmp_path, key, value):
    assert refused(train_on(erp, saved(long_frame(prompts=60), tmp_path), f"{key}={value}"), key)


@pytest.mark.parametrize("name", ["../../outside", "/{tmp}/outside", "a/b", "a\\b", "é" * 200, "<b>|`x`</b>"])
def test_a_label_never_leads_a_run_out_of_its_folder(erp, quick, tmp_path, name):
    label = json.dumps(name.replace("{tmp}", str(tmp_path)), ensure_ascii=False)
    answer = erp("train", *quick, f"router.name={label}", "out=within")
    assert answer.code == 0, answer.err
    (made,) = [folder for folder in (tmp_path / "within").iterdir() if (folder / "results.json").exists()]
    assert (tmp_path / answer.last).resolve() == made.resolve()
    assert not [path for path in tmp_path.parent.rglob("*outside*") if path.name.startswith("outside")]
    assert erp("compare", "out=within", "bootstrap.draws=100").code == 0


def test_describe_has_a_dash_where_there_is_no_number(erp, tmp_path):
    frame = long_frame(prompts=60)
    frame["reward"] = frame.groupby(["prompt_id", "sample"])["reward"].transform("first")  # all members alike
    answer = erp("describe", "data=table", f"data.path={saved(frame, tmp_path)}", "backbone=hashing")
    assert answer.code == 0
    assert "nan" not in answer.out
    assert [line.split()[4] for line in answer.out.splitlines() if line.strip().startswith("60 x 2 ")] == ["-"]


@pytest.mark.parametrize("key", ["seed", "split.test", "policy.lambda", "bootstrap.draws", "router.k"])
def test_true_is_no_number(erp, quick, key):
    assert refused(erp("train", *quick, "router=knn", f"{key}=true"), f"{key} = True", "should be a number")


def test_costs_of_another_unit_than_the_prices_given_are_told(erp, tmp_path):
    """A price file that lacks a name: costs are counted in tokens then, and lambda with them."""
    path = saved(long_frame(members=3).drop(columns="cost_usd"), tmp_path)
    names = sorted(long_frame(members=3)["model"].unique())
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({name: {"input": 1, "output": 2} for name in names[:2]}))
    answer = train_on(erp, path, "figures=false", f"cost.prices={prices}", f"out={tmp_path / 'runs'}")
    assert answer.code == 0, answer.err
    assert "costs are counted in tokens (not usd, which 2 of 3 members have" in answer.out
    assert f"no price for {names[2]}" in answer.out
    results = Path(answer.last) / "results.json"  # as it was before `fell_back` had a key of its own
    told = json.loads(results.read_text())
    assert told["cost"].pop("fell_back") in answer.out
    del told["format"]
    results.write_text(json.dumps(told))
    assert "costs are counted in tokens (not usd" in erp("report", f"run={answer.last}").out
