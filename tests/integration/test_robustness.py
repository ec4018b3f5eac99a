"""A system or a file that refuses, a slow writer, values at the edge: one line and exit code 2, or the right answer."""

import io
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import erp as package
from erp.errors import ErpError
from erp.programs.route import Request, read_arriving
from erp.runs import RunFolder, run_hash
from tests.edits import edited, places
from tests.integration.tables import long_frame
from tests.integration.test_bad_input import refused


def stdin(monkeypatch, content: bytes):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


# What the system refuses.


@pytest.mark.parametrize("out", ["/proc/x", "afile/x"])
def test_out_that_cannot_be_made(erp, quick, out):
    Path("afile").write_text("")
    assert refused(erp("train", *quick, f"out={out}"), f"out = {out}", "give another out")


@pytest.mark.parametrize("out", ["/proc/x", "afile/x"])
def test_out_of_compare_that_cannot_be_made(erp, run, out):
    Path("afile").write_text("")
    assert refused(erp("compare", str(run), f"out={out}"), f"out = {out}", "give another out")


def test_a_full_disk_behind_stdout(erp, run, monkeypatch):
    stdin(monkeypatch, b"one\ntwo\n")
    for command in (["route", f"run={run}"], ["describe"]):
        with monkeypatch.context() as patch, Path("/dev/full").open("w") as full:
            patch.setattr("sys.stdout", full)
            answer = erp(*command)
        assert refused(answer, f"erp {command[0]}: stdout: cannot be written (No space left")


def failing(error):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("Unable to allocate 89 GiB\nfor an array"), ["memory: is not enough", "89 GiB for an array"]),
        (MemoryError(), ["memory: is not enough"]),
        (OSError(28, "No space left on device", "/cache/x"), ["file = /cache/x: No space left on device; check"]),
        (OSError(23, "Too many open files"), ["system: Too many open files; "]),
        (ConnectionError("the hub\nis away"), ["system: the hub is away; "]),
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"), ["'ascii' codec", "ordinal not in range"]),
    ],
)
def test_what_the_system_refuses_is_one_line(erp, quick, monkeypatch, error, words):
    monkeypatch.setattr("erp.training.learn.assemble", failing(error))
    answer = erp("train", *quick)
    assert refused(answer, *words)
    assert answer.err.startswith("erp train: ")


@pytest.mark.parametrize("error", [ValueError("ours"), KeyError("ours"), io.UnsupportedOperation("ours")])
def test_a_bug_keeps_its_traceback(erp, quick, monkeypatch, error):
    monkeypatch.setattr("erp.training.learn.assemble", failing(error))
    with pytest.raises(type(error), match="ours"):
        erp("train", *quick)


# Run folders that were damaged.


@pytest.mark.parametrize("content", [b"a: [1, {", b"\xff\xfe\x00", b"- 1\n"])
def test_a_config_that_is_none(erp, run, content):
    (run / "config.yaml").write_bytes(content)
    assert refused(erp("evaluate", f"run={run}"), f"run = {run}: config.yaml")
    if content != b"- 1\n":
        assert refused(erp("train", f"config={run}/config.yaml"))


@pytest.mark.parametrize("name", ["config.yaml", "split.parquet"])
def test_a_missing_file(erp, run, name):
    (run / name).unlink()
    assert refused(erp("evaluate", f"run={run}"), str(run), name)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", None])
def test_a_split_that_cannot_be_read(run, content):
    folder = RunFolder(run)
    assert set(folder.load_split()["split"]) == {"train", "validation", "test"}
    if content is None:
        folder.split.unlink()
    else:
        folder.split.write_bytes(content)
    with pytest.raises(ErpError, match=rf"run = {run}: split.parquet cannot be read \(") as caught:
        folder.load_split()
    assert "\n" not in str(caught.value)


def text_cut_in_two(file):
    raw = bytearray(file.read_bytes())
    raw[raw.index(b"text:") + 8] = 0xFF
    file.write_bytes(raw)


SPLITS = {
    "no UTF-8": text_cut_in_two,
    **{
        how: lambda file, edit=edit: edit(pd.read_parquet(file)).to_parquet(file)
        for how, edit in {
            "lists": lambda frame: frame.assign(group_key=[["a"]] * len(frame)),
            "numbers": lambda frame: frame.assign(text_key=0.5),
            "twice": lambda frame: pd.concat([frame, frame]),
            "no group": lambda frame: frame.drop(columns="group_key"),
        }.items()
    },
}


@pytest.mark.parametrize("how", SPLITS)
def test_a_split_that_was_edited(erp, quick, run, how):
    SPLITS[how](run / "split.parquet")
    assert refused(erp("evaluate", f"run={run}"), f"run = {run}: split.parquet")
    long_frame(members=4).to_parquet("more.parquet")
    answer = erp("extend", f"run={run}", "data=table", "data.path=more.parquet")
    assert refused(answer, f"run = {run}: split.parquet")
    answer = erp("train", *quick, f"split.from={run}", "router=knn")
    assert refused(answer, f"split.from = {run.resolve()}: split.parquet")


@pytest.mark.parametrize("edit", [{"cost": 7}, {"router": None}, {"seed": "many"}, {"split": {"from": 3}}])
def test_a_config_that_no_run_wrote_is_named(erp, run, edit):
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | edit))
    for command in (["evaluate", f"run={run}"], ["extend", f"run={run}", "data=same"]):
        assert refused(erp(*command), f"run = {run}: config.yaml is no run's ({next(iter(edit))}")


def written(folder, content, place, *value):
    """``results.json`` without that key, or with another value there."""
    (folder / "results.json").write_text(json.dumps(edited(content, place, *value)))


def ends_in_a_line(answer):
    """Found finished, or refused in one line."""
    assert answer.code == 0 or refused(answer, "results.json")
    return answer.code


FIRST = [("equal_cost",), ("routing",), ("data",), ("policy", "label"), ("objective", "value"), ("verdict",), ("run",)]


@pytest.mark.parametrize("place", FIRST, ids=".".join)
def test_results_that_were_edited_are_found_or_refused(erp, quick, run, place):
    content = json.loads((run / "results.json").read_text())
    shutil.rmtree(run / "figures", ignore_errors=True)
    for value in ([], [None], [{"a": 1}]):
        written(run, content, place, *value)
        ends_in_a_line(erp("train", *quick, "figures=false"))
        ends_in_a_line(erp("train", *quick, "figures=true"))
        shutil.rmtree(run / "figures", ignore_errors=True)
        written(run, content, place, *value)
        ends_in_a_line(erp("evaluate", f"run={run}", "data=same"))


@pytest.mark.slow
@pytest.mark.parametrize("value", [[], [None], ["text"], [7], [[]], [{}]], ids=repr)
def test_no_edit_of_results_is_a_traceback(erp, quick, run, value):
    content = json.loads((run / "results.json").read_text())
    codes = set()
    for place in [place for place in places(content) if len(place) <= 3 and place[0] != "curves"]:
        written(run, content, place, *value)
        codes.add(ends_in_a_line(erp("train", *quick)))
    assert codes == {0, 2}


def test_figures_of_predictions_that_were_edited(erp, quick, run):
    (run / "predictions.parquet").write_bytes(b"PAR1 no more")
    assert refused(
        erp("train", *quick, "figures=true"),
        f"run = {run}: no report can be made",
        "predictions.parquet",
        "train again",
    )


def test_a_folder_where_a_lock_should_be(erp, quick, run):
    (run / "status.json").unlink()
    lock = run / "run.lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    assert refused(erp("train", *quick), f"{lock}: a folder lies where a file should be; move it away")


@pytest.mark.parametrize("name", ["status.json", "results.json"])
@pytest.mark.parametrize("content", [b'{"status": "o', b"", b"[]", b"\xff", None])
def test_a_half_written_status_is_an_unfinished_run(erp, quick, run, name, content):
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(content)
    assert not RunFolder(run).finished
    again = erp("train", *quick)
    assert again.code == 0, again.err
    assert Path(again.last) == run
    assert "finished already" not in again.out
    assert RunFolder(run).finished


def test_compare_names_an_evaluation_as_such(erp, run):
    folder = erp("evaluate", f"run={run}").last
    assert refused(erp("compare", folder), f"runs = {folder}: the folder is an evaluation", f"give {run}")


# Numbers that JSON does not have.


def test_inf_and_nan_stay_in_a_config_and_tell_runs_apart(tmp_path):
    configs = [{"policy": {"lambda": x}} for x in (float("inf"), float("-inf"), float("nan"), None, 0.0, np.inf)]
    assert len({run_hash(config) for config in configs}) == 5
    folder = RunFolder(tmp_path / "run")
    with folder.running({"policy": {"lambda": float("inf")}, "alphas": np.array([1.0, np.nan])}):
        pass
    found = folder.load_config()
    assert found["policy"]["lambda"] == float("inf")
    assert found["alphas"][0] == 1
    assert np.isnan(found["alphas"][1])


def test_a_run_with_lambda_inf_is_repeated_and_evaluated(erp, quick):
    folder = Path(erp("train", *quick, "policy.lambda=inf").last)
    assert yaml.safe_load((folder / "config.yaml").read_text())["policy"]["lambda"] == float("inf")
    json.loads((folder / "results.json").read_text(), parse_constant=failing(AssertionError("not strict JSON")))
    evaluated = erp("evaluate", f"run={folder}")
    assert evaluated.code == 0, evaluated.err
    again = erp("train", f"config={folder}/config.yaml")
    assert "finished already" in again.out
    assert Path(again.last) == folder


# Prompts.


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"prompt": "a"}\n{"prompt": "caf\xe9"}\n', "line 2 is not UTF-8"),
        (bytes(range(256)) * 9, "line"),
        (b"[" * 100_000, "line 1 is not JSON"),
        (b"9" * 5_000, "line 1 is not JSON"),
    ],
)
def test_input_that_is_no_text(erp, run, content, words):
    Path("in.jsonl").write_bytes(content)
    assert refused(erp("route", f"run={run}", "input=in.jsonl"), "input = in.jsonl", words)


def test_stdin_that_is_no_text_or_closed(erp, run, monkeypatch):
    stdin(monkeypatch, b"one\ncaf\xe9\n")
    assert refused(erp("route", f"run={run}"), "input = stdin: line 2 is not UTF-8")
    monkeypatch.setattr("sys.stdin", None)
    assert refused(erp("route", f"run={run}"), "input: stdin is closed")


def test_half_an_emoji_is_a_question_mark(erp, run):
    Path("in.jsonl").write_text(json.dumps({"prompt": "a \ud800 b", "category": "\udfff"}) + "\n")
    answer = erp("route", f"run={run}", "input=in.jsonl", "output=json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["prompt"] == "a ? b"
    assert list(package.load(run).scores(["a \ud800 b"]).iloc[0]) == list(package.load(run).scores(["a ? b"]).iloc[0])


def test_a_router_that_reads_the_category_is_told_it(erp, quick, monkeypatch):
    folder = erp("train", *quick, "router=category_mean").last
    stdin(monkeypatch, b"one\n")
    assert refused(erp("route", f"run={folder}"), "line 1 has no category", "category")
    Path("in.jsonl").write_text('{"prompt": "a", "category": "math"}\n{"prompt": "b"}\n')
    assert refused(erp("route", f"run={folder}", "input=in.jsonl"), "line 2 has no category")
    Path("in.jsonl").write_text('{"prompt": "a", "category": "math"}\n{"prompt": "b", "category": "never seen"}\n')
    assert erp("route", f"run={folder}", "input=in.jsonl").code == 0


# A slow and a fast writer.


def test_a_slow_writer_is_answered_before_it_ends(erp, run, monkeypatch):
    """The second prompt is written only once the first is answered: a program that waited for more would hang."""
    reading, writing = os.pipe()
    answered = threading.Event()
    seen = []

    class Output(io.StringIO):
        def write(self, text):
            seen.append(text)
            answered.set()
            return len(text)

    def write():
        with os.fdopen(writing, "wb", buffering=0) as stream:
            stream.write(b"one\nhal")
            in_time = answered.wait(20)
            stream.write(b"f a line\n" if in_time else b"f, too late\n")

    writer = threading.Thread(target=write)
    with os.fdopen(reading) as source, monkeypatch.context() as patch:
        patch.setattr("sys.stdin", source)
        patch.setattr("sys.stdout", Output())
        writer.start()
        assert erp("route", f"run={run}", "output=json").code == 0
        writer.join(20)
    prompts = [json.loads(line)["prompt"] for line in "".join(seen).splitlines()]
    assert prompts == ["one", "half a line"]


def test_a_fast_writer_gets_full_batches():
    lines = [f"prompt {i}" for i in range(1000)]
    batches = list(read_arriving(io.BytesIO("\n".join(lines).encode()), 32))
    assert [len(batch) for batch in batches] == [32] * 31 + [
        7,
        1,
    ]  # the last line, without a newline, ends with the file
    assert [request for batch in batches for request in batch] == [Request(i, t) for i, t in enumerate(lines, 1)]


class Pieces(io.BytesIO):
    """Gives a few bytes at a time."""

    def read1(self, size=-1):
        return super().read1(3)


@pytest.mark.parametrize("form", [io.BytesIO, Pieces])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", []),
        ("\n\n", []),
        ("a", [Request(1, "a")]),
        ("a\r\n\n  b \n", [Request(1, "a"), Request(3, "b")]),
        ("naïve 🙂\nb\n\nc", [Request(1, "naïve 🙂"), Request(2, "b"), Request(4, "c")]),
    ],
)
def test_lines_and_their_numbers(form, content, expected):
    batches = read_arriving(form(content.encode()), 2)
    assert [request for batch in batches for request in batch] == expected


# Python and help.


def test_train_takes_a_list_not_a_text():
    with pytest.raises(ErpError, match="config = router=ridge: is one text; give a list"):
        package.train("router=ridge")


@pytest.mark.parametrize(
    ("program", "named"),
    [("describe", {"--cfg"}), ("train", {"--cfg", "-m", "--config-dir"}), ("evaluate", {"--cfg"}),
     ("route", {"--cfg"}), ("compare", set())],
)  # fmt: skip
def test_help_names_the_flags_that_work(erp, program, named):
    last = erp(program, "--help").out.strip().splitlines()[-1]
    assert {flag for flag in ("--cfg", " -m ", "--config-dir") if flag in last} == {
        " -m " if flag == "-m" else flag for flag in named
    }


@pytest.mark.parametrize("program", ["describe", "train"])
def test_the_flag_that_help_names_prints_the_config(erp, program):
    answer = erp(program, "--cfg", "job")
    assert answer.code == 0
    assert yaml.safe_load(answer.out)["data"]["name"] == "mini"
