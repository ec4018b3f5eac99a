"""What a member's own answer tells before the decision: numbers by hand, what is set apart, what it costs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from erp import cli
from erp.backbones.attempt import AttemptBackbone, attempts_in
from erp.backbones.base import Backbone, build_backbone
from erp.backbones.hashing import HashingBackbone
from erp.backbones.joined import JoinedBackbone
from erp.backbones.surface import SurfaceBackbone
from erp.compose import compose
from erp.errors import ErpError
from erp.programs.train import train as program
from erp.table.attempts import Attempt, Attempts, set_apart
from erp.table.read import read_table
from erp.table.write import TableWriter
from erp.targets import expected_reward
from tests.integration.tables import long_frame, results

VECTORS = {
    "say 4": [0, 2, 0],
    "x\n\n 4 ": [3, 4, 0],
    "thus\n4\n": [0, 0, 5],
    "five": [5, 0, 0],
    "a": [1, 0, 0],
    "q": [1, 0, 0],
}
MEMBER = "synthetic-1b"
SMALL = (
    "data=table", "backbone=attempt", f"backbone.member={MEMBER}", "cost=tokens", "tracking=off",
    "bootstrap.draws=100", "figures=false", "trainer.progress=false",
)  # fmt: skip
HASHED = ("backbone@backbone.encoder=hashing", "backbone.encoder.dimensions=64")


class Known(Backbone):
    """Three numbers of each text that it knows."""

    active_parameters = 7.0

    def fingerprint(self) -> str:
        return "known"

    def embed(self, prompts):
        return np.array([VECTORS[prompt] for prompt in prompts], dtype=np.float32).reshape(-1, 3)


def made(samples=1, **changes):
    return AttemptBackbone("m", Known(), samples, **changes)


def written(folder: Path, frame: pd.DataFrame, manifest=None) -> Path:
    """A table in its folder form."""
    prompts = frame.drop_duplicates("prompt_id").assign(group=None, split=None, reference=None)
    folder.mkdir()
    writer = TableWriter(folder / "table", "r")
    writer.add_prompts(prompts)
    writer.add_samples(frame.drop(columns=["prompt", "category"]))
    writer.finish(manifest or {})
    return folder / "table"


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """90 prompts, 3 members, 3 samples, each with a text."""
    frame = long_frame(prompts=90, samples=3).drop(columns="cost_usd")
    said = frame["model"] + " says " + (frame["reward"] * 3).round().astype(str) + "\n" + frame["sample"].astype(str)
    return frame.assign(response=said)


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    """`train(table, *more)`: exit code, the run's folder, what was said on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERP_CACHE", str(tmp_path / "cache"))

    def run(table, *more):
        encoder = () if any("encoder" in word for word in more) else HASHED
        code = cli.main(["train", f"data.path={table}", *SMALL, *encoder, *more])
        said = capsys.readouterr()
        return code, Path((said.out.strip().splitlines() or [""])[-1]), said.err.strip()

    return run


def test_one_answer_tells_its_meaning_and_length():
    backbone = made()
    backbone.take(Attempts({"five": (Attempt("x\n\n 4 ", 6),), "say 4": (Attempt("five", 10**9),)}, "hash"))
    length = (np.log(7) - 4) / 4
    expected = [[1, 0, 0, 0.6, 0.8, 0, length], [0, 1, 0, 1, 0, 0, 1]]
    assert backbone.embed(["five", "say 4"]) == pytest.approx(np.array(expected))
    assert backbone.blocks() == {"prompt": 3, "answer": 3, "length": 1}
    assert backbone.embed([]).shape == (0, 7)


def test_of_several_answers_every_pair_agrees_or_not():
    backbone = made(3, blocks=["agreement", "length", "answer"])
    answers = (Attempt("say 4", 2), Attempt("x\n\n 4 ", 4), Attempt("thus\n4\n", 6))
    backbone.take(Attempts({"q": answers}, "hash"))
    [row] = backbone.embed(["q"])
    # Vectors (0, 1, 0), (.6, .8, 0), (0, 0, 1): cosines .8, 0, 0. Last lines "say 4", "4", "4".
    assert row == pytest.approx([0.2, 0.6, 1 / 3, (np.log(5) - 4) / 4, 0.8 / 3, 1 / 3])
    assert backbone.blocks() == {"answer": 3, "length": 1, "agreement": 2}


def test_other_answers_are_other_features():
    def fingerprint(content="a", **changes):
        backbone = made(**changes)
        backbone.take(Attempts({}, content))
        return backbone.fingerprint()

    assert len({fingerprint(), fingerprint("b"), fingerprint(samples=2), fingerprint(blocks=["answer"])}) == 4


def test_parts_that_read_answers_are_found():
    one, other = made(), made(2)
    joined = JoinedBackbone([SurfaceBackbone(), one, JoinedBackbone([other])])
    assert list(attempts_in(joined)) == [one, other]
    assert one.parameters_per_token() == 7.0
    assert made(blocks=["answer"]).parameters_per_token() == 0.0


def test_the_first_samples_leave_the_table(tmp_path, frame):
    folder = written(tmp_path / "t", frame)
    table = read_table(folder)
    rest, attempts = set_apart(table, folder, MEMBER, 2)
    ids = frame.set_index(["prompt_id", "model", "sample"])
    targets, at = expected_reward(rest), rest.members.index(MEMBER)
    for row, (prompt_id, text) in enumerate(zip(table.prompts["prompt_id"], table.prompts["prompt"], strict=True)):
        own = ids.loc[prompt_id, MEMBER]
        assert targets.mean[row, at] == own.loc[2, "reward"]
        assert [said.text for said in attempts.of[text]] == own.loc[[0, 1], "response"].tolist()
        assert [said.tokens for said in attempts.of[text]] == own.loc[[0, 1], "completion_tokens"].tolist()
    whole = expected_reward(table)
    assert (targets.count[:, at] == 1).all()
    others = np.arange(3) != at
    assert (targets.mean[:, others] == whole.mean[:, others]).all()
    assert (targets.count[:, others] == 3).all()


def test_what_an_attempt_earned_changes_nothing(tmp_path, train, frame):
    wild = frame.copy()
    apart = (wild["model"] == MEMBER) & (wild["sample"] == 0)
    wild.loc[apart, "reward"] = 1000 * np.random.default_rng(0).standard_normal(apart.sum())
    found = []
    for name, rows in (("as_it_is", frame), ("wild", wild)):
        code, folder, _ = train(written(tmp_path / name, rows), f"out={tmp_path / name}")
        assert code == 0
        told = json.loads((folder / "results.json").read_text())
        told["run"] = {key: value for key, value in told["run"].items() if "seconds" not in key}
        found.append((told, pd.read_parquet(folder / "predictions.parquet")))
    assert found[0][0] == found[1][0]
    pd.testing.assert_frame_equal(found[0][1], found[1][1])


def test_what_an_attempt_said_makes_another_run(tmp_path, train, frame):
    other = frame.copy()
    other.loc[other["sample"] == 0, "response"] = "no"
    _, first, _ = train(written(tmp_path / "a", frame))
    _, second, _ = train(written(tmp_path / "b", other))
    assert first.name != second.name


def test_an_attempt_is_paid_for_wherever_the_router_is_compared(tmp_path, train, frame):
    code, folder, _ = train(written(tmp_path / "t", frame), "backbone.samples=2", "policy.lambda=0.001")
    assert code == 0
    told = results(folder)
    left = frame[(frame["model"] == MEMBER) & (frame["sample"] == 2)]
    read = 2 * (left["prompt_tokens"] + left["completion_tokens"]).mean()
    assert told["economics"]["router_per_prompt"] == told["cost"]["read_first"] == pytest.approx(read)
    cells = pd.read_parquet(folder / "predictions.parquet").query("split == 'test'")
    cost, predicted = (
        cells.pivot_table(index="prompt_id", columns="model", values=name) for name in ("cost", "predicted")
    )
    first = cost.to_numpy()[np.arange(len(cost)), predicted.to_numpy().argmax(axis=1)].mean()
    assert told["routing"]["router"]["cost"] == pytest.approx(first + read)
    assert told["equal_cost"]["lambda_0"]["cost"] == pytest.approx(first + read)
    assert told["curves"]["router"]["cost"][0] == pytest.approx(first + read)
    assert told["interval"]["cost"][0] == pytest.approx(first + read)
    spent = frame["prompt_tokens"] + frame["completion_tokens"]
    scored = spent[(frame["model"] != MEMBER) | (frame["sample"] == 2)].sum()
    assert told["economics"]["labels_table"] == pytest.approx(scored + 90 * read)
    assert told["routing"]["oracle"]["cost"] < first  # references read nothing
    assert min(told["curves"]["oracle"]["cost"]) == pytest.approx(cost.min(axis=1).mean())
    single = cost[told["routing"]["best_single"]["member"]].mean()
    even = told["economics"]["break_even"]
    if even["saving"] is not None:
        point = told["equal_cost"][even["at"]]["cost"]
        assert even["saving"] == pytest.approx(single - point + read)
        assert even["net_saving"] == pytest.approx(single - point)


def test_in_flops_reading_the_answer_counts_too(tmp_path, monkeypatch, frame):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERP_CACHE", str(tmp_path / "cache"))
    pool = "pool.members=[{name: synthetic-1b, active_parameters: 10}, {name: synthetic-3b, active_parameters: 30}]"
    config = compose("train", [*SMALL, f"data.path={written(tmp_path / 't', frame)}", "cost=flops", pool])
    hashed = {"_target_": "erp.backbones.hashing.HashingBackbone"}
    config["backbone"]["encoder"] = {
        "_target_": "erp.backbones.joined.JoinedBackbone", "parts": [hashed], "active_parameters": 5
    }  # fmt: skip
    config["backbone"]["blocks"] = ["answer"]
    left = frame[(frame["model"] == MEMBER) & (frame["sample"] > 0)].groupby("prompt_id").mean(numeric_only=True)
    read = 2 * 10 * (left["prompt_tokens"] + left["completion_tokens"]) + 2 * 5 * left["completion_tokens"]
    assert program(config).results["economics"]["router_per_prompt"] == pytest.approx(read.mean())


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"samples": 0}, r"backbone\.samples = 0: give 1 or more"),
        ({"blocks": []}, r"backbone\.blocks = \[\]: give one or more of prompt, answer, length, agreement"),
        ({"blocks": ["agreement"]}, r"backbone\.blocks = \['agreement'\]: is of two answers"),
        ({"encoder": {"_target_": "erp.backbones.tfidf.TfidfBackbone"}}, r"backbone\.encoder: .* need not learn"),
    ],
)
def test_bad_settings_are_refused_by_name(changes, fault):
    node = compose("train", ["backbone=attempt", "backbone.member=m", "backbone@backbone.encoder=hashing"])["backbone"]
    assert isinstance(build_backbone(node, None).encoder, HashingBackbone)
    with pytest.raises(ErpError, match=fault):
        build_backbone({**node, **changes}, None)


def one_line(said, fault):
    [line] = said.splitlines()
    assert fault in line
    return True


def test_tables_that_hold_no_answer_to_spare_are_refused_in_a_line(tmp_path, train, frame):
    once = written(tmp_path / "once", frame[frame["sample"] == 0])
    code, _, said = train(once)
    assert code == 2
    assert one_line(said, "backbone.samples = 1: 90 of 90 prompts")
    code, _, said = train(written(tmp_path / "silent", frame.drop(columns="response")))
    assert code == 2
    assert one_line(said, "holds rewards without responses")
    frame.to_parquet(tmp_path / "long.parquet")
    code, _, said = train(tmp_path / "long.parquet")
    assert code == 2
    assert one_line(said, "backbone = attempt: this table is no folder")
    decoding = {"settings": {"members": {MEMBER: {"decoding": {"temperature": 0}}}}}
    code, _, said = train(written(tmp_path / "greedy", frame, decoding))
    assert code == 2
    assert one_line(said, f"backbone.member = {MEMBER}: was sampled at temperature 0")
    code, _, said = train(once, "backbone.member=nobody")
    assert code == 2
    assert one_line(said, "backbone.member = nobody: not in the pool; its members are synthetic-1b")


def test_a_trained_run_is_not_asked_where_no_answer_is_at_hand(tmp_path, train, frame, capsys):
    _, folder, _ = train(written(tmp_path / "t", frame))
    (tmp_path / "prompts.txt").write_text("a\n")
    for command in (["route", "input=prompts.txt"], ["evaluate"], ["export", "out=shared"]):
        assert cli.main([command[0], f"run={folder}", *command[1:]]) == 2
        assert one_line(capsys.readouterr().err.strip(), f"its backbone reads an answer of {MEMBER} before it decides")
