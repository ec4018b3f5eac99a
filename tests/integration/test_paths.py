"""Paths and names as users type them, from the table to the comparison, and what stays out of a run folder."""

import json
import shlex
from pathlib import Path

import pytest
import torch
import yaml

from tests.integration.test_bad_input import refused
from tests.training.tables import paths_in

MEMBERS = ["synthetic-1b", "synthetic-3b", "synthetic-8b"]
AWKWARD = "my runs, [é=1] (it's ~new) {a}"


@pytest.fixture
def awkward(quick, table, tmp_path):
    """The same fast run, on a table whose folder has every letter that a shell or Hydra may take for its own."""
    folder = tmp_path / AWKWARD
    folder.mkdir()
    table.rename(folder / "täble, 2=3.parquet")
    return [*(q for q in quick if not q.startswith("data.path")), f"data.path={AWKWARD}/täble, 2=3.parquet"]


def test_a_run_is_made_opened_repeated_and_compared_where_its_path_is_awkward(erp, awkward, tmp_path):
    first = erp("train", *awkward, f"out={AWKWARD}")
    assert first.code == 0, first.err
    assert first.last.startswith(f"{AWKWARD}/ridge-hashing-")
    assert erp("evaluate", f"run={first.last}", "data=same").code == 0
    (tmp_path / "p, 1.jsonl").write_text('{"prompt": "one"}\n')
    assert erp("route", f"run={first.last}", "input=p, 1.jsonl").code == 0
    for config in (f"config={first.last}/config.yaml", f'config="{first.last}/config.yaml"'):
        assert erp("train", config, f"out={AWKWARD}").last == first.last
    assert erp("compare", first.last, "bootstrap.draws=200").code == 0
    assert erp("compare", f"out={AWKWARD}", "bootstrap.draws=200").code == 0
    wrong = erp("compare", AWKWARD)
    assert shlex.split(wrong.faults[0].partition(" give ")[2]) == [f"out={AWKWARD}"]


def test_a_sweep_too_and_what_it_prints_can_be_pasted_into_a_shell(erp, awkward):
    answer = erp("train", "-m", *awkward, f"out='{AWKWARD}'".replace("it's", r"it\'s"), "seed=0,1")
    assert answer.code == 0, answer.err
    program, command, *arguments = shlex.split(answer.last.removeprefix("compare them: "))
    assert (program, command) == ("erp", "compare")
    assert erp("compare", *arguments, "bootstrap.draws=200").code == 0


def test_home_is_filled_in(erp, awkward, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    *rest, data = awkward
    answer = erp("train", *rest, data.replace("=", "=~/", 1), "out=~/there", "backbone=hashing")
    assert answer.code == 0, answer.err
    again = erp("train", f"config=~/there/{answer.last.split('/')[-1]}/config.yaml", "out=~/there")
    assert again.last == answer.last


@pytest.mark.parametrize("key", ["router.name", "backbone.name", "sweep", "tracking.tags", "out", "cost.prices"])
def test_a_config_from_elsewhere_reads_no_secret(erp, run, tmp_path, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden")
    made = str(run)
    theirs = yaml.safe_load((tmp_path / made / "config.yaml").read_text())
    *groups, last = key.split(".")
    node = theirs
    for group in groups:
        node = node[group]
    node[last] = ["${oc.env:OPENAI_API_KEY}"] if key == "tracking.tags" else "${oc.env:OPENAI_API_KEY}"
    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(theirs))
    for arguments in (
        ["config=theirs.yaml"],
        ["-m", "config=theirs.yaml", "seed=0,1"],
        ["config=theirs.yaml", "--cfg", "job"],
    ):
        answer = erp("train", *arguments)
        assert answer.code == 2
        assert key in answer.faults[0]
        assert "sk-hidden" not in answer.out + answer.err
    # A run folder of theirs: what opens it looks nothing up either.
    (tmp_path / made / "config.yaml").write_text(yaml.safe_dump(theirs))
    for command in (
        ["evaluate", f"run={made}", "data=same"],
        ["extend", f"run={made}", "data=same"],
        ["compare", made],
    ):
        answer = erp(*command)
        assert "sk-hidden" not in answer.out + answer.err
        if command[0] == "compare":  # what is said of a run in its config alone is left out
            assert f"{key}" in answer.err
        else:
            assert refused(answer, f"run = {made}: config.yaml: {key}", "holds ${")
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert not any("sk-hidden" in str(path) or b"sk-hidden" in path.read_bytes() for path in written)


@pytest.mark.parametrize("node", ["router", "backbone", "policy"])
def test_a_checkpoint_from_elsewhere_reads_no_secret(erp, run, tmp_path, monkeypatch, node):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden")
    checkpoint = run / "checkpoint.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    content["card"][node]["name"] = "${oc.env:OPENAI_API_KEY}"
    torch.save(content, checkpoint)
    (tmp_path / "in.jsonl").write_text('{"prompt": "one"}\n')
    for command in (["evaluate"], ["route", "input=in.jsonl"], ["extend", "data=synthetic", "data.members=4"]):
        answer = erp(*command, f"run={run}")
        assert refused(answer, f"checkpoint = {run}/checkpoint.ckpt: {node}.name holds ${{")
        assert "sk-hidden" not in answer.err


@pytest.mark.parametrize("router", ["ridge", "mlp", "stack"])
def test_a_checkpoint_holds_no_path(erp, quick, tmp_path, router):
    """A folder can be moved or sent: what is read of it says nothing of the machine that it was made on."""
    prices = {name: {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0} for name in MEMBERS}
    (tmp_path / "prices.json").write_text(json.dumps(prices))
    options = [*quick, "figures=false", "trainer.max_epochs=1", f"router={router}"]
    first = erp("train", *options).last
    more = ["cost.prices=prices.json", f"split.from={first}", f"weights_dir={tmp_path}", f"cache_dir={tmp_path}"]
    answer = erp("train", *options, "backbone=tfidf", f"out={tmp_path / 'out'}", *more)
    assert answer.code == 0, answer.err
    for run in (first, answer.last):
        assert not paths_in(Path(run) / "checkpoint.ckpt", tmp_path)


def test_a_mapping_given_in_python_is_resolved_already(quick, tmp_path, monkeypatch):
    import erp
    from erp.compose import compose

    monkeypatch.chdir(tmp_path)
    config = compose("train", [*quick, "trainer.progress=false"])
    for broken, said in (
        ({"sweep": "${oc.env:HOME}"}, "sweep holds ${"),
        ({"seed": nested(200)}, "nested deeper than 64"),
    ):
        with pytest.raises(erp.ErpError, match=said.replace("$", r"\$").replace("{", r"\{")):
            erp.train({**config, **broken})


def nested(depth: int) -> list:
    return [nested(depth - 1)] if depth else []


def test_a_damaged_config_of_a_run_is_a_line(erp, run):
    config = run / "config.yaml"
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
    )
    for text in (laughs, "a: " + "[" * 9000, "a: &a [*a]", "[1]", "\x00"):
        config.write_text(text)
        answer = erp("evaluate", f"run={run}", "data=same")
        assert answer.code == 2
        assert [line.startswith(f"erp evaluate: run = {run}: config.yaml ") for line in answer.faults] == [True]
