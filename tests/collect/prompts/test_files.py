"""Prompts from JSON lines, parquet and datasets: what is read, left out, and refused by name."""

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from erp.build import build
from erp.collect.prompts.base import Prompt, PromptSet, prompt_frame
from erp.collect.prompts.files import JsonLines, Parquet
from erp.collect.prompts.hub import HubDataset
from erp.compose import conf_folder
from erp.errors import ErpError

ROWS = [
    {"prompt": "What is 2 + 2?", "prompt_id": "p1", "category": "math", "reference": {"answer": "4"}},
    {"prompt": "Name a bird.", "prompt_id": "p2", "category": "chat", "group": "g", "split": "test"},
    {"prompt": "  ", "prompt_id": "p3", "category": "chat"},
    {"prompt": None, "prompt_id": "p4", "category": "chat"},
    {"prompt": "What is 2 + 2?", "prompt_id": "p5", "category": "math"},
    {"prompt": "Write a poem.", "prompt_id": "p6", "category": "chat", "reference": {"words": [1, 2]}},
]
KEPT = [
    Prompt("What is 2 + 2?", "p1", "math", reference='{"answer": "4"}'),
    Prompt("Name a bird.", "p2", "chat", "g", "test"),
    Prompt("Write a poem.", "p6", "chat", reference='{"words": [1, 2]}'),
]
COUNTED = [
    "2 of 6 rows have no prompt and are left out",
    "1 of 6 rows repeat a prompt's text and are left out",
]


def json_lines(folder, rows, name="prompts.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def parquet(folder, rows, name="prompts.parquet"):
    names = dict.fromkeys(key for row in rows for key in row)
    path = folder / name
    pq.write_table(pa.table({key: [row.get(key) for row in rows] for key in names}), path)
    return str(path)


def faults(prompt_set):
    with pytest.raises(ErpError) as error:
        list(prompt_set.prompts())
    return error.value.faults


def test_json_lines_give_their_prompts_and_count_what_is_left_out(tmp_path):
    made = JsonLines(json_lines(tmp_path, ROWS))
    assert list(made.prompts()) == KEPT
    assert made.notes == COUNTED
    assert list(made.prompts()) == KEPT  # the same again, and the notes are not doubled
    assert made.notes == COUNTED


def test_parquet_gives_the_same(tmp_path):
    rows = [{**row, "reference": None} for row in ROWS]
    made = Parquet(parquet(tmp_path, rows))
    assert list(made.prompts()) == [Prompt(p.text, p.prompt_id, p.category, p.group, p.split) for p in KEPT]
    assert made.notes == COUNTED


def test_a_struct_of_parquet_is_a_reference(tmp_path):
    path = parquet(tmp_path, [{"prompt": "a", "reference": {"answer": "4", "units": ["m"]}}])
    (prompt,) = Parquet(path).prompts()
    assert json.loads(prompt.reference) == {"answer": "4", "units": ["m"]}


def test_a_dataset_gives_the_same(tmp_path):
    json_lines(tmp_path, ROWS, "train.jsonl")
    made = HubDataset(str(tmp_path))
    assert [(p.text, p.prompt_id, p.category, p.group, p.split) for p in made.prompts()] == [
        (p.text, p.prompt_id, p.category, p.group, p.split) for p in KEPT
    ]
    assert made.notes == COUNTED


def test_a_folder_a_pattern_and_compression(tmp_path):
    json_lines(tmp_path, ROWS[:1], "a.jsonl")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.write(json.dumps(ROWS[1]))
    (tmp_path / "readme.txt").write_text("no prompts here")
    assert [p.prompt_id for p in JsonLines(str(tmp_path)).prompts()] == ["p1", "p2"]
    assert [p.prompt_id for p in JsonLines(str(tmp_path / "a*")).prompts()] == ["p1"]


def test_any_protocol_of_fsspec(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/a.jsonl", json.dumps(ROWS[0]).encode())
    with fsspec.open("memory://bucket/a.parquet", "wb") as stream:
        pq.write_table(pa.table({"prompt": ["Name a bird."]}), stream)
    assert [p.prompt_id for p in JsonLines("memory://bucket/a.jsonl").prompts()] == ["p1"]
    assert list(Parquet("memory://bucket/a.parquet").prompts()) == [Prompt("Name a bird.")]


def test_columns_of_other_names(tmp_path):
    rows = [{"question": "Why?", "answer": "42", "subject": 7}]
    named = {"prompt": "question", "reference": "answer", "category": "subject", "group": None}
    wanted = [Prompt("Why?", category="7", reference='{"answer": "42"}')]
    assert list(JsonLines(json_lines(tmp_path, rows), columns=named).prompts()) == wanted
    assert list(Parquet(parquet(tmp_path, rows), columns=named).prompts()) == wanted


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"answer": "é"}, '{"answer": "é"}'),
        ('{"answer": 1}', '{"answer": 1}'),  # already the text of an object
        ("Paris", '{"answer": "Paris"}'),
        (42, '{"answer": 42}'),
        ("42", '{"answer": "42"}'),
        (["a", "b"], '{"answer": ["a", "b"]}'),
        (None, None),
    ],
)
def test_a_reference_is_the_text_of_a_json_object(tmp_path, given, stored):
    (prompt,) = JsonLines(json_lines(tmp_path, [{"prompt": "a", "reference": given}])).prompts()
    assert prompt.reference == stored


def test_ids_that_a_null_made_floats_of_are_whole_again(tmp_path):
    path = parquet(tmp_path, [{"prompt": "a", "prompt_id": 7.0}, {"prompt": "b", "prompt_id": None}])
    assert [p.prompt_id for p in Parquet(path).prompts()] == ["7", None]


def test_limit_keeps_the_first_and_a_seed_draws_a_sample_whatever_the_order(tmp_path):
    rows = [{"prompt": f"{c} {i}", "category": c} for c, n in (("a", 60), ("b", 20)) for i in range(n)]
    assert [p.text for p in JsonLines(json_lines(tmp_path, rows), limit=3).prompts()] == ["a 0", "a 1", "a 2"]

    made = JsonLines(json_lines(tmp_path, rows), limit=8, seed=3)
    drawn = list(made.prompts())
    assert sorted(p.category for p in drawn) == ["a"] * 6 + ["b"] * 2
    assert made.notes == ["8 of 80 prompts were drawn (seed 3)"]
    shuffled = random.Random(0).sample(rows, len(rows))
    assert list(Parquet(parquet(tmp_path, shuffled), limit=8, seed=3).prompts()) == drawn


def test_a_limit_reads_no_further(tmp_path):
    path = json_lines(tmp_path, ROWS[:2])
    with Path(path).open("a") as stream:
        stream.write("not JSON\n")
    assert len(list(JsonLines(path, limit=2).prompts())) == 2


def test_the_prompts_make_a_frame(tmp_path):
    frame = prompt_frame(
        JsonLines(json_lines(tmp_path, [{"prompt": "a"}, {"prompt": "b", "prompt_id": "x"}])).prompts()
    )
    assert frame["prompt"].tolist() == ["a", "b"]
    assert frame["prompt_id"].iloc[1] == "x"


@pytest.mark.parametrize("kind", [JsonLines, Parquet, HubDataset])
def test_absent_columns_are_named_beside_those_present(tmp_path, kind):
    write = parquet if kind is Parquet else json_lines
    path = write(tmp_path, [{"text": "a", "topic": "b"}])
    source = str(tmp_path) if kind is HubDataset else path
    key = "prompts.dataset" if kind is HubDataset else "prompts.path"
    assert faults(kind(source)) == (
        f"{key} = {source}: there is no column prompt; its columns are text, topic; "
        "name the right one with prompts.columns.prompt",
    )
    assert faults(kind(source, columns={"prompt": "text", "category": "theme"})) == (
        f"prompts.columns.category = theme: {source} has no such column; its columns are text, topic; "
        "name the right one with prompts.columns.category",
    )


def test_a_column_that_a_prompt_set_does_not_know_is_refused():
    with pytest.raises(ErpError, match=r"prompts\.columns\.answer = gold: a prompt set has no column answer"):
        JsonLines("x.jsonl", columns={"answer": "gold"})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{oops", "line 3 is not JSON"),
        ('["a"]', "line 3 is a list; put one object on each line"),
        ('{"prompt": ["a"]}', "line 3, column prompt: is a list, not a text"),
        ('{"prompt": 5}', "line 3, column prompt: is a int, not a text"),
        ('{"prompt": "b", "category": {}}', "line 3, column category: is a dict, not a text"),
        ('{"prompt": "b", "prompt_id": true}', "line 3, column prompt_id: is a bool, not a text"),
    ],
)
def test_bad_lines_are_named_by_number(tmp_path, line, told):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a"}\n\n' + line + "\n")
    (fault,) = faults(JsonLines(str(path)))
    assert fault.startswith(f"prompts.path = {path}: {told}")


def test_a_parquet_row_is_named_by_number(tmp_path):
    path = parquet(tmp_path, [{"prompt": 1}, {"prompt": 2}])
    (fault,) = faults(Parquet(path))
    assert fault.startswith(f"prompts.path = {path}: row 0, column prompt: is a int, not a text")


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        (JsonLines, "absent.jsonl", "there is no such file or folder"),
        (Parquet, "absent.parquet", "there is no such file or folder"),
        (Parquet, "empty", "holds no .parquet or .pq file"),
        (JsonLines, "empty", "holds no .jsonl or .ndjson or .json file"),
        (Parquet, "text.parquet", "cannot be read ("),
        (JsonLines, "latin.jsonl", "line 1 is not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, kind, name, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("this is no parquet file")
    (tmp_path / "latin.jsonl").write_bytes('{"prompt": "é"}'.encode("latin-1"))
    (fault,) = faults(kind(str(tmp_path / name)))
    assert fault.startswith(f"prompts.path = {tmp_path / name}: {told}")
    assert "\n" not in fault


def test_an_unknown_protocol_is_one_line():
    (fault,) = faults(JsonLines("nowhere://a/b.jsonl"))
    assert fault.startswith("prompts.path = nowhere://a/b.jsonl: cannot be read (")


def test_a_dataset_that_cannot_be_read_is_one_line(tmp_path):
    (fault,) = faults(HubDataset(str(tmp_path / "absent")))
    assert fault.startswith(f"prompts.dataset = {tmp_path / 'absent'}: split train cannot be read (")
    json_lines(tmp_path, ROWS[:1], "train.jsonl")
    (fault,) = faults(HubDataset(str(tmp_path), split="test"))
    assert fault.startswith(f"prompts.dataset = {tmp_path}: split test cannot be read (")
    assert "\n" not in fault


def test_limits_below_one_are_refused():
    with pytest.raises(ErpError, match=r"prompts\.limit = 0: give 1 or more, or null for all"):
        Parquet("x.parquet", limit=0)


@pytest.mark.parametrize(("option", "required"), [("jsonl", "path"), ("parquet", "path"), ("hf", "dataset")])
def test_the_option_files_build(option, required):
    node = yaml.safe_load((conf_folder() / "prompts" / f"{option}.yaml").read_text())
    assert node[required] == "???"
    made = build({**node, required: "somewhere"}, PromptSet, key="prompts")
    assert made.limit is None
    with pytest.raises(ErpError, match=r"prompts\.limt = 3: there is no such key; did you mean limit\?"):
        build({**node, required: "somewhere", "limt": 3}, PromptSet, key="prompts")
