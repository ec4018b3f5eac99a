"""What `erp route` takes for a prompt: text, JSON lines, conversations; on stdin, in files; up to a line at fault."""

import gzip
import io
import json
import os
import threading
from pathlib import Path

import pandas as pd
import pytest
import torch

import erp as package
from tests.integration.test_bad_input import refused

BOM = b"\xef\xbb\xbf"
TURNS = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": None, "tool_calls": []},
    {"role": "user", "content": [{"type": "text", "text": "se"}, {"type": "text", "text": "cond"}]},
]


@pytest.fixture
def ask(erp, run, monkeypatch):
    """The prompts that were routed of what stands on stdin, or in a file of that name, and the answer."""

    def asked(content: bytes, *arguments, file=None, of=None):
        if file is None:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        else:
            Path(file).write_bytes(content)
            arguments = (*arguments, f"input={file}")
        answer = erp("route", f"run={of or run}", "output=json", *arguments)
        return [(line["line"], line["prompt"]) for line in map(json.loads, answer.out.splitlines())], answer

    return asked


def lines(*values):
    return "".join(json.dumps(value) + "\n" for value in values).encode()


@pytest.mark.parametrize("file", [None, "in.jsonl", "in.ndjson", "in.json", "in.data"])
@pytest.mark.parametrize("bom", [b"", BOM])
def test_json_lines_are_json_lines_wherever_they_come_from(ask, file, bom):
    content = bom + b"\n" + lines({"prompt": "one"}, {"prompt": "two", "category": 7}, {"messages": TURNS})
    found, answer = ask(content, file=file)
    assert answer.code == 0, answer.err
    assert found == [(2, "one"), (3, "two"), (4, "se\ncond")]


@pytest.mark.parametrize("file", [None, "in.txt", "in"])
@pytest.mark.parametrize("bom", [b"", BOM])
def test_text_has_no_byte_order_mark(ask, file, bom):
    found, answer = ask(bom + b"one\r\n\n" + bom + b"{two}\n", file=file)
    assert answer.code == 0, answer.err
    assert found == [(1, "one"), (3, "{two}")]


def test_the_kind_of_line_can_be_said(ask):
    odd = b'{"prompt": "one"}\n'
    assert ask(odd, "input_format=text")[0] == [(1, '{"prompt": "one"}')]
    assert ask(odd, "input_format=text", file="in.jsonl")[0] == [(1, '{"prompt": "one"}')]
    assert ask(odd, "input_format=jsonl", file="in.txt")[0] == [(1, "one")]
    assert refused(ask(b"one\n", "input_format=jsonl")[1], "input = stdin: line 1 is not JSON")
    assert refused(ask(b"one\n", "input_format=xml")[1], "input_format = xml")


@pytest.mark.parametrize(
    "first", ["{a} and {b}", '{"a": 1} is what?', "[1] see note", "[1, 2]", "7", '"quoted"', "null", "{}, what is it?"]
)
def test_a_first_line_that_only_looks_like_json_is_text(ask, first):
    found, answer = ask(f"{first}\nnext\n".encode())
    assert answer.code == 0, answer.err
    assert [prompt for _, prompt in found] == [first, "next"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'[\n{"prompt": "a"}\n]\n', "is JSON over several lines"),
        (b'{\n"prompt": "a"\n}\n', "is JSON over several lines"),
        (b'[{"prompt": "a"},\n{"prompt": "b"}]\n', "is JSON over several lines"),
        (b'{"prompt": "a\n', "line 1 is not JSON"),
        (b'{"question": "a"}\n', "line 1 has no text under"),
    ],
)
def test_json_that_is_no_line_each_is_not_taken_for_text(ask, content, told):
    found, answer = ask(content)
    assert found == []
    assert refused(answer, "input = stdin", told, "input_format=text" if "several" in told or "text" in told else "")


def test_files_of_other_kinds(ask, erp, run):
    frame = pd.DataFrame({"prompt": ["one", "two"], "category": ["a", None]})
    for name, content in {
        "in.parquet": frame.to_parquet(),
        "in.csv": frame.to_csv(index=False).encode(),
        "in.json": frame.to_json(orient="records").encode(),
        "in.jsonl.gz": gzip.compress(lines({"prompt": "one"}, {"prompt": "two"})),
        "in.txt.gz": gzip.compress(b"one\ntwo\n"),
    }.items():
        found, answer = ask(content, file=name)
        assert answer.code == 0, answer.err
        assert [prompt for _, prompt in found] == ["one", "two"], name
    assert refused(erp("route", f"run={run}", "input=absent.jsonl"), "input = absent.jsonl: there is no such file")


def test_a_named_pipe_is_read_as_it_comes(erp, run):
    os.mkfifo("in.jsonl")
    writer = threading.Thread(target=lambda: Path("in.jsonl").write_bytes(lines({"prompt": "one"})))
    writer.start()
    answer = erp("route", f"run={run}", "input=in.jsonl", "output=json")
    writer.join(20)
    assert json.loads(answer.out)["prompt"] == "one"


@pytest.mark.parametrize("file", [None, "in.jsonl", "in.data"])
@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (b'{"prompt": "caf\xe9"}\n', "line 3 is not UTF-8"),
        (b"{oops\n", "line 3 is not JSON"),
        (b'"text"\n', "line 3 is a str"),
        (b'{"prompt": " "}\n', "line 3 has no text"),
        (b'{"prompt": 5}\n', "line 3: is a int, not a text"),
        (b'{"prompt": "a", "category": ["math"]}\n', "line 3, column category: is a list, not a text"),
        (b'{"prompt": "a", "category": {"math": 1}}\n', "line 3, column category: is a dict, not a text"),
        (b'{"prompt": "a", "category": true}\n', "line 3, column category: is a bool, not a text"),
        (b'{"prompt": "a", "category": 1.5}\n', "line 3, column category: is a float, not a text"),
        (lines({"messages": [{"role": "system", "content": "a"}]}), "line 3: the conversation has no turn of the role"),
        (lines({"messages": []}), "line 3: the conversation has no turn of the role user"),
        (lines({"messages": "hi", "prompt": None}), None),
        (lines({"messages": [{"role": "user", "content": ""}]}), "line 3: the last user turn has no text"),
        (lines({"messages": [{"content": "a"}]}), "line 3: message 1 has no role"),
        (lines({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}), "no text (image_url)"),
        (lines({"messages": {"role": "user", "content": "a"}}), "line 3: is a dict, not a text or messages"),
    ],
)
def test_what_comes_before_the_line_at_fault_is_answered(ask, file, bad, told):
    found, answer = ask(lines({"prompt": "one"}) + b"\n" + bad + lines({"prompt": "four"}), file=file)
    if told is None:  # a text under messages is a text
        assert [prompt for _, prompt in found] == ["one", "hi", "four"]
        return
    assert found == [(1, "one")]
    assert refused(answer, f"input = {file or 'stdin'}", told)


def test_text_before_a_bad_byte_is_answered(ask):
    found, answer = ask(b"one\ntwo\ncaf\xe9\nfour\n")
    assert found == [(1, "one"), (2, "two")]
    assert refused(answer, "input = stdin: line 3 is not UTF-8")


def test_prompts_before_one_without_a_category_are_answered(ask, erp, quick):
    folder = erp("train", *quick, "router=category_mean").last
    content = lines({"prompt": "a", "category": "math"}, {"prompt": "b", "category": 3}, {"prompt": "c"})
    found, answer = ask(content, of=folder)
    assert [prompt for _, prompt in found] == ["a", "b"]
    assert refused(answer, "line 3 has no category")


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        ("last_user", "se\ncond"),
        ("first_user", "first"),
        ("conversation", "system: be brief\n\nuser: first\n\nuser: se\ncond"),
    ],
)
def test_the_rule_is_kept_in_the_checkpoint(ask, erp, quick, rule, asked):
    folder = Path(erp("train", *quick, f"data.prompt_from={rule}", "out=other").last)
    found, answer = ask(lines({"messages": TURNS}, TURNS, {"prompt": TURNS}, {"prompt": "a text"}), of=folder)
    assert answer.code == 0, answer.err
    assert [prompt for _, prompt in found] == [asked] * 3 + ["a text"]
    content = torch.load(folder / "checkpoint.ckpt", weights_only=True)
    assert content["card"].pop("prompt_from") == rule
    del content["format"]
    torch.save(content, folder / "checkpoint.ckpt")  # as it was before there was a choice
    assert ask(lines({"messages": TURNS}), of=folder)[0] == [(1, "se\ncond")]
    by_hand = package.load(folder).route(["se\ncond"])
    assert list(package.load(folder).route([TURNS])["prompt"]) == list(by_hand["prompt"])


def test_another_rule_makes_another_run(erp, quick, run):
    """A table of texts is the same by every rule, and the router is not: it will be asked by that rule."""
    assert Path(erp("train", *quick).last) == run
    other = erp("train", *quick, "data.prompt_from=first_user").last
    assert Path(other) != run
    assert package.load(other).bundle.card.prompt_from == "first_user"


def test_a_table_of_conversations_trains_and_evaluates_by_one_rule(ask, erp, quick, run, table):
    frame = pd.read_parquet(table)
    said = [[{"role": "user", "content": p}, {"role": "user", "content": "go on"}] for p in frame["prompt"]]
    frame.drop(columns="prompt").assign(messages=said).to_parquet("talks.parquet")
    rest = [argument for argument in quick if not argument.startswith("data.path")]
    folder = erp("train", *rest, "data.path=talks.parquet", "data.prompt_from=first_user", "out=other").last
    held = [json.loads((Path(made) / "results.json").read_text()) for made in (folder, run)]
    assert held[0]["prediction"] == held[1]["prediction"]
    evaluated = erp("evaluate", f"run={folder}", "data=table", "data.path=talks.parquet")
    assert evaluated.code == 0, evaluated.err
    other = ("data=table", "data.path=talks.parquet", "data.prompt_from=last_user")
    assert refused(erp("evaluate", f"run={folder}", *other), "data.prompt_from = last_user", "first_user")
