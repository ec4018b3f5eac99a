"""The paper's prompts, on hand-made files of the dataset's columns."""

import json
import random
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from erp.build import build
from erp.collect.prompts.base import Prompt, PromptSet, prompt_frame
from erp.collect.prompts.open_perfectblend import COARSE, OpenPerfectBlend
from erp.compose import conf_folder
from erp.errors import ErpError

META, ULTRA, ORCA = "meta-math/MetaMathQA", "mlabonne/ultrachat_200k_sft", "HuggingFaceH4/orca-math-word-problems-200k"
CODE = "theblackcat102/evol-codealpaca-v1"


def row(source, *turns):
    return {"conversations": [{"from": who, "value": text} for who, text in turns], "source": source}


def asked(source, text):
    return row(source, ("human", text), ("gpt", "An answer."))


WARTS = [
    row(ULTRA, ("human", "  First question?\n"), ("gpt", "Yes."), ("human", "Second question?"), ("gpt", "No.")),
    row(ULTRA, ("system", "You are terse."), ("human", "After a system turn?"), ("gpt", "Yes.")),
    asked(META, "What is 1 + 1?"),
    asked(META, "What is 1 + 1?\n"),  # a repeat but for its end
    asked(ULTRA, "   "),
    asked(ULTRA, None),
    row(ULTRA, ("gpt", "Nobody asked.")),
    row(ULTRA),
    asked(CODE, "x" * 101),
    asked(CODE, "hm"),
    asked("somebody/new-source", "From where?"),
]


def parquet(folder, rows, name="blend.parquet"):
    turn = pa.struct([("from", pa.string()), ("value", pa.string())])
    columns = {
        "conversations": pa.array([r["conversations"] for r in rows], pa.list_(turn)),
        "source": pa.array([r["source"] for r in rows], pa.string()),
    }
    pq.write_table(pa.table(columns), folder / name)
    return str(folder / name)


def json_lines(folder, rows, name="blend.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


def faults(**arguments):
    with pytest.raises(ErpError) as error:
        list(OpenPerfectBlend(**arguments).prompts())
    return error.value.faults


@pytest.mark.parametrize("write", [parquet, json_lines])
def test_first_human_turns_are_kept_and_the_rest_is_counted(tmp_path, write):
    made = OpenPerfectBlend(path=write(tmp_path, WARTS), min_chars=5, max_chars=100)
    assert sorted(made.prompts(), key=lambda p: p.text) == [
        Prompt("After a system turn?", category=ULTRA),
        Prompt("First question?", category=ULTRA),
        Prompt("From where?", category="somebody/new-source"),
        Prompt("What is 1 + 1?", category=META),
    ]
    assert made.notes == [
        "4 of 11 rows have no human turn with a text and are left out",
        "1 of 11 rows are under 5 characters and left out",
        "1 of 11 rows are over 100 characters and left out",
        "1 of 11 rows repeat a prompt's text and are left out",
        "1 of 11 rows come from sources that are not known here (somebody/new-source); the source is their category",
        f"4 of 4 prompts were drawn (seed 0, proportional): {META} 1, {ULTRA} 2, somebody/new-source 1",
        f"{META} rephrases a question many times; group is null: near-duplicates are for the table's split",
    ]


def test_a_stream_of_datasets_gives_the_same(tmp_path):
    rows = [r for r in WARTS if r["conversations"]]
    wanted = list(OpenPerfectBlend(path=json_lines(tmp_path, rows), max_chars=100).prompts())
    folder = tmp_path / "dataset"
    folder.mkdir()
    parquet(folder, rows, "train.parquet")
    assert list(OpenPerfectBlend(dataset=str(folder), max_chars=100).prompts()) == wanted


def test_coarse_categories(tmp_path):
    path = parquet(tmp_path, [asked(source, f"Asked of {source}") for source in [*COARSE, "somebody/new-source"]])
    made = OpenPerfectBlend(path=path, category="coarse")
    assert Counter(p.category for p in made.prompts()) == {
        "math": 2, "reasoning": 1, "chat": 3, "code": 1, "instruction_following": 1, "other": 1
    }  # fmt: skip
    assert any(
        "sources that are not known here (somebody/new-source); their coarse category is other" in n for n in made.notes
    )


def test_no_cap_on_length(tmp_path):
    path = parquet(tmp_path, [asked(CODE, "x" * 20_000)])
    assert list(OpenPerfectBlend(path=path).prompts()) == []
    assert [len(p.text) for p in OpenPerfectBlend(path=path, max_chars=None).prompts()] == [20_000]


def many():
    """60 + 30 of two sources, 10 of a third: 100 distinct prompts, 5 of them twice."""
    sizes = {META: 60, ORCA: 30, ULTRA: 10}
    rows = [asked(source, f"Question {i} of {source}?") for source, size in sizes.items() for i in range(size)]
    return rows + rows[:5]


@pytest.mark.parametrize(
    ("options", "drawn"),
    [
        ({"limit": 20}, {META: 12, ORCA: 6, ULTRA: 2}),
        # 15 of 100: 9, 4.5 and 1.5; equal remainders go by name, and HuggingFaceH4 comes before mlabonne
        ({"limit": 15}, {META: 9, ORCA: 5, ULTRA: 1}),
        ({"limit": 36, "balance": "equal"}, {META: 13, ORCA: 13, ULTRA: 10}),
        ({"limit": 20, "category": "coarse"}, {"math": 18, "chat": 2}),
        ({"limit": 500}, {META: 60, ORCA: 30, ULTRA: 10}),
        ({}, {META: 60, ORCA: 30, ULTRA: 10}),
    ],
)
def test_the_sample_is_stratified_by_the_whole_set(tmp_path, options, drawn):
    prompts = list(OpenPerfectBlend(path=parquet(tmp_path, many()), **options).prompts())
    assert Counter(p.category for p in prompts) == drawn


def test_the_sample_is_a_function_of_content_and_seed(tmp_path):
    path = parquet(tmp_path, many())
    drawn = list(OpenPerfectBlend(path=path, limit=20).prompts())
    assert list(OpenPerfectBlend(path=path, limit=20).prompts()) == drawn
    shuffled = parquet(tmp_path, random.Random(1).sample(many(), 105), "shuffled.parquet")
    assert list(OpenPerfectBlend(path=shuffled, limit=20).prompts()) == drawn
    assert list(OpenPerfectBlend(path=path, limit=20, seed=1).prompts()) != drawn


def test_several_files_are_read(tmp_path):
    parquet(tmp_path, many()[:50], "0.parquet")
    parquet(tmp_path, many()[50:], "1.parquet")
    assert len(list(OpenPerfectBlend(path=str(tmp_path)).prompts())) == 100
    assert len(list(OpenPerfectBlend(path=str(tmp_path / "0*")).prompts())) == 50


def test_the_prompts_make_a_frame_with_ids_of_their_texts(tmp_path):
    frame = prompt_frame(OpenPerfectBlend(path=parquet(tmp_path, many()), limit=20).prompts())
    assert len(frame) == frame["prompt_id"].nunique() == 20
    assert frame[["group", "split", "reference"]].isna().all(axis=None)


def test_absent_columns_are_named_beside_those_present(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"messages": [], "source": "a"}\n')
    path = str(tmp_path / "p.jsonl")
    told = "no column conversations; its columns are messages, source; give a dataset of open-perfectblend's columns"
    (fault,) = faults(path=path)
    assert fault.startswith(f"prompts.path = {path}: {told}")
    assert fault.endswith("(line 1)")
    (fault,) = faults(dataset=str(tmp_path))
    assert fault.startswith(f"prompts.dataset = {tmp_path}: {told}")


@pytest.mark.parametrize(
    ("conversations", "told"),
    [
        ("Hello", "is a str; give a list of {from, value}"),
        (["Hello"], "a turn is a str; give {from, value}"),
        ([{"from": "human", "value": ["Hello"]}], "a turn's value is a list; give a text"),
    ],
)
def test_malformed_conversations_are_named_by_row(tmp_path, conversations, told):
    path = json_lines(tmp_path, [asked(META, "a"), {"conversations": conversations, "source": META}])
    assert faults(path=path) == (f"prompts.path = {path}: line 2, column conversations: {told}",)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"limit": 0}, "prompts.limit = 0: give 1 or more, or null for all"),
        ({"max_chars": 0}, "prompts.max_chars = 0: give 1 or more and no less than min_chars = 1"),
        ({"max_chars": 5, "min_chars": 9}, "prompts.max_chars = 5: give 1 or more and no less than min_chars = 9"),
    ],
)
def test_bounds_that_cannot_be_met_are_refused_at_once(arguments, told):
    with pytest.raises(ErpError) as error:
        OpenPerfectBlend(**arguments)
    assert error.value.faults == (told,)


def test_the_option_file_builds_and_its_words_are_checked():
    node = yaml.safe_load((conf_folder() / "prompts" / "open_perfectblend.yaml").read_text())
    made = build(node, PromptSet, key="prompts")
    assert made.limit == 10_000
    with pytest.raises(ErpError) as error:
        build({**node, "balance": "even", "category": "fine"}, PromptSet, key="prompts")
    assert {fault.split(":")[0] for fault in error.value.faults} == {
        "prompts.balance = even",
        "prompts.category = fine",
    }


@pytest.mark.network
def test_the_real_dataset_streams():
    made = OpenPerfectBlend(limit=200)
    assert len({p.category for p in made.prompts()}) == len(COARSE)
    assert not any("not known here" in note for note in made.notes)
