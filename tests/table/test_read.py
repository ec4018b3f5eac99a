"""Long files: what is accepted, what is refused and in which words."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from erp.errors import ErpError
from erp.table.groups import group_prompts
from erp.table.read import read_table


def rows(**columns):
    base = {
        "prompt_id": ["q2", "q2", "q1", "q1"],
        "prompt": ["What is 2+2?", "What is 2+2?", "Say hello", "Say hello"],
        "model": ["small", "large", "small", "large"],
        "reward": [0.25, 1.0, 0.5, -2.0],
    }
    frame = pd.DataFrame({**base, **columns})
    return frame[[c for c in frame if frame[c].map(lambda v: v is not ...).all()]]


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        lines = [json.dumps({k: v for k, v in row.items() if v is not None}) for row in frame.to_dict("records")]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def fault(path, **options) -> list[str]:
    with pytest.raises(ErpError) as caught:
        read_table(path, **options)
    for line in caught.value.faults:
        assert "\n" not in line
    return list(caught.value.faults)


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_every_form_gives_the_same_table(tmp_path, ending):
    frame = rows(category=["math", "math", None, None], completion_tokens=[7, 9, 11, 13], extra=[1, 2, 3, 4])
    table = read_table(write(frame, tmp_path / f"t.{ending}"))
    assert table.members == ("large", "small")
    assert table.reward_model == "reward"
    assert table.has_categories
    assert table.notes == ()
    assert table.prompts.to_dict("records") == [
        {"prompt_id": "q1", "prompt": "Say hello", "category": None, "group": None, "split": None, "reference": None},
        {"prompt_id": "q2", "prompt": "What is 2+2?", "category": "math", "group": None, "split": None,
         "reference": None},
    ]  # fmt: skip
    got = table.samples
    assert got["prompt"].tolist() == [0, 0, 1, 1]
    assert got["member"].tolist() == [0, 1, 0, 1]
    assert got["reward"].tolist() == [-2.0, 0.5, 1.0, 0.25]
    assert got["completion_tokens"].tolist() == [13.0, 11.0, 9.0, 7.0]
    assert got["n_samples"].tolist() == [1, 1, 1, 1]
    assert got[["prompt_tokens", "cost_usd"]].isna().all().all()
    assert got.dtypes.astype(str).to_dict() == {
        "prompt": "int64", "member": "int64", "sample": "int64", "reward": "float64", "n_samples": "int64",
        "prompt_tokens": "float64", "completion_tokens": "float64", "cost_usd": "float64",
    }  # fmt: skip


@pytest.mark.parametrize(
    "reward",
    [
        pd.array([1, None, 0, 1], dtype="Int16"),
        pd.array([True, None, False, True], dtype="boolean"),
        np.array([1.0, np.nan, 0.0, 1.0], dtype=np.float32),
        np.array([1.0, np.inf, 0.0, 1.0]),
        np.array(["1", "nan", "0.0", "1e0"], dtype=object),
        np.array(["1", None, "0.0", "1e0"], dtype=object),
    ],
)
def test_rewards_of_any_numeric_type_and_missing_ones(tmp_path, reward):
    table = read_table(write(rows(reward=reward), tmp_path / "t.parquet"))
    assert np.array_equal(table.samples["reward"], [1.0, 0.0, np.nan, 1.0], equal_nan=True)
    assert table.notes == ("1 of 4 rewards are not finite and count as missing", "1 of 4 cells are missing")


def test_boolean_rewards(tmp_path):
    table = read_table(write(rows(reward=[True, False, False, True]), tmp_path / "t.parquet"))
    assert table.samples["reward"].tolist() == [1.0, 0.0, 0.0, 1.0]


def test_ids_are_kept_as_text_even_where_they_look_like_numbers(tmp_path):
    csv = tmp_path / "t.csv"
    csv.write_text("prompt_id,prompt,model,reward,group\n007,a,NA,1,\n7,b,null,0,3\n")
    table = read_table(csv)
    assert table.prompts["prompt_id"].tolist() == ["007", "7"]
    assert table.prompts["group"].tolist() == [None, "3"]
    assert table.members == ("NA", "null")
    numbers = rows(prompt_id=[2, 2, 10, 10], group=[1.0, 1.0, np.nan, np.nan])
    table = read_table(write(numbers, tmp_path / "t.parquet"))
    assert table.prompts["prompt_id"].tolist() == ["10", "2"]
    assert table.prompts["group"].tolist() == [None, "1"]


def test_categorical_text_columns(tmp_path):
    frame = rows(category=["x", "x", "y", "y"]).astype({"model": "category", "category": "category"})
    table = read_table(write(frame, tmp_path / "t.parquet"))
    assert table.members == ("large", "small")
    assert table.prompts["category"].tolist() == ["y", "x"]


@pytest.mark.parametrize("texts", [
    ("What is 2\u00b3?", "What is 23?"),
    ("for x in y:\n    f(x)\n    g(x)", "for x in y:\n    f(x)\ng(x)"),
    ("Say hello", "say hello"),
    ("a  b", "a b"),
    ("\uff21 or B?", "A or B?"),
])  # fmt: skip
def test_ids_are_made_from_the_very_text_and_what_looks_alike_is_one_group(tmp_path, texts):
    frame = rows(prompt_id=..., prompt=[texts[0], texts[0], texts[1], texts[1]])
    table = read_table(write(frame, tmp_path / "t.parquet"))
    assert sorted(table.prompts["prompt"]) == sorted(texts)  # as they are, each with its rewards
    assert table.prompts["prompt_id"].nunique() == 2
    of = {
        text: set(table.samples["reward"][table.samples["prompt"] == row])
        for row, text in table.prompts["prompt"].items()
    }
    assert of == {texts[0]: {0.25, 1.0}, texts[1]: {0.5, -2.0}}
    assert table.notes[0].startswith("the table has no prompt_id")
    assert table.notes[1].startswith("2 texts differ from another in case, white space or Unicode form alone")
    assert len(set(group_prompts(table.prompts).keys)) == 1


@pytest.mark.parametrize("texts", [("caf\u00e9?\nYes", "cafe\u0301?\r\nYes"), ("a\rb", "a\nb")])
def test_composed_letters_and_line_ends_make_no_other_prompt(tmp_path, texts):
    frame = rows(prompt_id=..., prompt=[texts[0], texts[0], texts[1], texts[1]], model=["a", "b", "a", "b"])
    table = read_table(write(frame, tmp_path / "t.parquet"))
    assert len(table.prompts) == 1
    assert not any("texts differ" in note for note in table.notes)


def test_repeated_rows_are_numbered_by_content_without_a_sample_column(tmp_path):
    frame = rows(prompt_id=["q", "q", "q", "q"], prompt="same", model=["b", "a", "b", "b"])
    table = read_table(write(frame, tmp_path / "t.parquet"))
    assert table.samples[["member", "sample"]].to_numpy().tolist() == [[0, 0], [1, 0], [1, 1], [1, 2]]
    assert table.samples["reward"].tolist() == [1.0, -2.0, 0.25, 0.5]


def test_columns_are_renamed(tmp_path):
    frame = rows().rename(columns={"model": "llm", "reward": "score"}).assign(reward="unused")
    table = read_table(write(frame, tmp_path / "t.parquet"), columns={"model": "llm", "reward": "score"})
    assert table.samples["reward"].sum() == -0.25


def test_one_of_several_reward_models(tmp_path):
    frame = pd.concat([rows(reward_model="a/x"), rows(reward_model="b", reward=["bad", "0", "1", "2"])])
    path = write(frame.astype({"reward": str}), tmp_path / "t.parquet")
    table = read_table(path, reward_model="a/x")
    assert table.reward_model == "a/x"
    assert len(table.samples) == 4
    assert fault(path) == [f"reward_model.name = null: {path} has several; they are a/x, b; name one"]
    assert "allowed are a/x, b" in fault(path, reward_model="c")[0]
    assert "row 4, column reward = 'bad'" in fault(path, reward_model="b")[0]  # the row of the file


def test_reward_model_of_a_file_that_names_none(tmp_path):
    path = write(rows(), tmp_path / "t.parquet")
    assert read_table(path, reward_model="reward").reward_model == "reward"
    assert "is called 'reward'" in fault(path, reward_model="grm")[0]


def test_missing_reward_model_names_the_row(tmp_path):
    path = write(rows(reward_model=["a", None, "a", "a"]), tmp_path / "t.parquet")
    assert "row 1, column reward_model = null" in fault(path)[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"reward": ["abc", "1", "2", "3"]}, "row 0, column reward = 'abc': not a number"),
        ({"model": ["small", None, "small", "large"]}, "row 1, column model = null: missing"),
        ({"prompt": ["What is 2+2?", "What is 2+2?", " \n", " \n"]}, "row 2, column prompt = "),
        ({"prompt_id": ["q2", "q2", None, "q1"]}, "row 2, column prompt_id = null: missing"),
        ({"n_samples": [1, 0, 2, 3]}, "row 1, column n_samples = 0: allowed is a whole number of at least 1"),
        ({"sample": [0.5, 0, 0, 0]}, "row 0, column sample = 0.5: allowed is a whole number"),
        ({"completion_tokens": [1, 2, 3, -4]}, "row 3, column completion_tokens = -4: allowed is a number of at least"),
        ({"cost_usd": [0.1, np.inf, 0.1, 0.1]}, "row 1, column cost_usd = inf"),
        ({"prompt": ["a", "b", "Say hello", "Say hello"]}, "rows 0 and 1, column prompt = 'a' and 'b': prompt_id q2"),
        ({"category": ["x", None, "y", "y"]}, "rows 0 and 1, column category = 'x' and null: prompt_id q2 has two"),
        ({"split": ["train", "test", "train", "train"]}, "rows 0 and 1, column split = 'train' and 'test'"),
        ({"group": ["g", "g", "g", "h"]}, "rows 2 and 3, column group = 'g' and 'h': prompt_id q1 has two"),
        ({"model": "same", "sample": 3}, "rows 0 and 1, columns prompt_id, model, sample = (q2, same, 3)"),
        ({"reward": np.nan}, "every reward is missing"),
        ({"prompt": [["a"], ["a"], ["b"], ["b"]]}, "row 0, column prompt = ['a']: not a text"),
        ({"reward": [[1], [1], [2], [2]]}, "row 0, column reward = [1]: not a number"),
    ],
)
def test_faults_name_row_and_column(tmp_path, changes, expected):
    path = write(rows(**changes), tmp_path / "t.parquet")
    lines = fault(path)
    assert any(line.startswith(f"data.path = {path}: {expected}") or expected in line for line in lines), lines


def test_all_faults_at_once_and_ten_lines_at_most(tmp_path):
    n = 5000
    frame = pd.DataFrame(
        {"prompt": [f"p{i}" for i in range(n)], "model": "m", "reward": "bad", "completion_tokens": -4}
    )
    frame.loc[17, "model"] = None
    path = write(frame, tmp_path / "t.parquet")
    lines = fault(path)
    text = "\n".join(lines)
    assert len(lines) <= 11
    assert "row 17, column model" in text
    assert "row 0, column reward = 'bad'" in text
    assert "row 0, column completion_tokens = -4" in text
    assert lines[-1] == f"data.path = {path}: and {2 * n + 1 - (len(lines) - 1):,} more faults"


def test_empty_tables(tmp_path):
    assert "the table is empty" in fault(write(rows().iloc[:0], tmp_path / "t.parquet"))[0]
    assert "the table is empty" in fault(write(rows().iloc[:0], tmp_path / "t.csv"))[0]
    for ending in ("jsonl", "json", "csv", "tsv"):
        (tmp_path / f"e.{ending}").write_text("")
        assert "the table is empty" in fault(tmp_path / f"e.{ending}")[0]


def test_wrong_columns_list_what_is_there(tmp_path):
    path = write(rows().rename(columns={"reward": "score"}), tmp_path / "t.csv")
    (line,) = fault(path)
    assert "no column reward; its columns are prompt_id, prompt, model, score" in line
    assert "data.columns.reward=score" in line
    lines = fault(path, columns={"reward": "points", "rewrad": "score"})
    assert lines[0].startswith("data.columns.reward = points: ")
    assert lines[1].startswith("data.columns.rewrad = score: ")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.parquet", b"not parquet", "cannot be read"),
        ("t.jsonl", b'{"prompt": "a"}\n{"prompt": ', "line 2 is not JSON"),
        ("t.jsonl", b"[1, 2]\n", "item 1 is a int; put one object on each line"),
        ("t.csv", b"prompt,model,reward\n\xff\xfe,a,1\n", "cannot be read"),
        ("t.csv", b"prompt,model,reward\np,a,1,surplus\n", "more cells than the header"),
        ("t.txt", b"prompt", "not a known kind of file"),
    ],
)
def test_unreadable_files(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    (line,) = fault(tmp_path / name)
    assert line.startswith(f"data.path = {tmp_path / name}: ")
    assert expected in line


def test_missing_file(tmp_path):
    assert "there is no such file or folder" in fault(tmp_path / "no.parquet")[0]


def test_json_lines_with_nan_unicode_and_lone_surrogates(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(
        '{"prompt": "gr\u00fc\u00df \\ud83d\\ude00", "model": "a", "reward": NaN}\n\n'
        '{"prompt": "half \\ud83d", "model": "a", "reward": 1}\n',
        encoding="utf-8",
    )
    table = read_table(path)
    assert set(table.prompts["prompt"]) == {"gr\u00fc\u00df \U0001f600", "half ?"}
    assert table.fingerprint()


def test_a_dataset_of_the_hub(monkeypatch):
    class Data:
        column_names = list(rows())  # noqa: RUF012

        def select_columns(self, names):
            self.names = names
            return self

        def to_pandas(self):
            return rows()[self.names]

    hub = types.SimpleNamespace(
        get_dataset_split_names=lambda name, *_: {"me/one": ["train"], "me/two": ["train", "test"]}[name],
        load_dataset=lambda name, split: Data(),
    )
    monkeypatch.setitem(sys.modules, "datasets", hub)
    assert len(read_table("hf://datasets/me/one").samples) == 4
    assert len(read_table(Path("hf://datasets/me/two:test")).samples) == 4
    assert "several splits; they are train, test" in fault("hf://datasets/me/two")[0]
    assert "cannot be read" in fault("hf://datasets/me/none")[0]
    assert "write hf://datasets/<owner>/<name>[:split]" in fault("hf://me")[0]


@pytest.mark.tables
def test_the_real_tables_are_read_as_they_are(tables):
    shapes = {
        "llmrouter9": (5989, 9), "alpaca_eval": (805, 55), "routellm2": (15334, 2), "zeroeval": (2840, 28),
        "humaneval3x10": (164, 3), "oasst_lengths": (250, 49),
    }  # fmt: skip
    for name, shape in shapes.items():
        table = read_table(tables / f"{name}.parquet")
        raw = pd.read_parquet(tables / f"{name}.parquet")
        assert (len(table.prompts), len(table.members)) == shape
        assert len(table.samples) == len(raw)
        assert table.has_categories == (name != "oasst_lengths")
        ids = table.prompts["prompt_id"].to_numpy()[table.samples["prompt"]]
        got = pd.Series(
            table.samples["reward"].to_numpy(), index=[ids, table.samples["member"], table.samples["sample"]]
        )
        member = raw["model"].map({m: i for i, m in enumerate(table.members)})
        want = pd.Series(raw["reward"].astype(float).to_numpy(), index=[raw["prompt_id"], member, raw["sample"]])
        assert got.sort_index().to_numpy().tolist() == want.sort_index().to_numpy().tolist()
    notes = read_table(tables / "alpaca_eval.parquet").notes
    assert notes == ("10 of 44,275 cells are missing",)


def ids(*numbers):
    return rows(prompt_id="q", prompt="same", model="m", sample=list(numbers))


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
@pytest.mark.parametrize("first", [0, 2**53, 2**62, 2**63 - 2, 2**64 - 4])
def test_sample_numbers_of_64_bits_stay_apart_and_in_order(tmp_path, ending, first):
    numbers = [first + 3, first + 1, first + 2, first]
    frame = ids(*numbers)
    frame["sample"] = np.array(numbers, dtype=np.uint64) if first >= 2**62 else np.array(numbers)
    table = read_table(write(frame, tmp_path / f"t.{ending}"))
    assert table.samples["reward"].tolist() == [-2.0, 1.0, 0.5, 0.25]
    assert table.samples["sample"].is_monotonic_increasing
    assert table.samples["sample"].is_unique


def test_a_sample_number_that_has_lost_its_last_digits_is_refused(tmp_path):
    path = write(ids(2.0**60, 1.0, 2.0, 3.0), tmp_path / "t.parquet")
    assert "row 0, column sample = 1.152921504606847e+18: allowed is a whole number, exact" in fault(path)[0]


@pytest.mark.parametrize("words", [["True", "False", "true", "FALSE"], [True, False, True, False]])
@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_true_and_false_are_one_and_zero_in_every_form(tmp_path, words, ending):
    table = read_table(write(rows(reward=words), tmp_path / f"t.{ending}"))
    assert table.samples["reward"].tolist() == [0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("bad", [pd.Timestamp("2026-01-01"), pd.Timedelta("1s")])
def test_a_time_is_no_reward(tmp_path, bad):
    assert "not a number" in fault(write(rows(reward=[bad] * 4), tmp_path / "t.parquet"))[0]


@pytest.mark.parametrize("n", [2**70, 1e300, 2.5, True, "many"])
def test_n_samples_that_are_no_count(tmp_path, n):
    path = write(rows(n_samples=[str(n), "1", "1", "1"]), tmp_path / "t.csv")
    assert "row 0, column n_samples" in fault(path)[0]


def test_tokens_that_cannot_be_true_are_unknown_and_told(tmp_path):
    frame = rows(prompt_tokens=[0, 5, -1, 7], completion_tokens=[-1, 9, 0, 3])
    table = read_table(write(frame, tmp_path / "t.parquet"))
    assert np.array_equal(table.samples["prompt_tokens"], [7, np.nan, 5, np.nan], equal_nan=True)
    # `small` has no response of any length: it was not counted. An empty answer beside others is one
    assert np.array_equal(table.samples["completion_tokens"], [3, np.nan, 9, np.nan], equal_nan=True)
    assert "prompt_tokens is 0 beside a text, or -1, in 2 of 4 rows and counts as unknown" in table.notes
    assert "completion_tokens is 0 beside a text, or -1, in 2 of 4 rows and counts as unknown" in table.notes
    frame = rows(completion_tokens=[0, 9, 4, 3])
    assert read_table(write(frame, tmp_path / "t.parquet")).samples["completion_tokens"].tolist() == [3, 4, 9, 0]


def test_unknown_tokens_are_estimated_where_the_response_was_read(tmp_path):
    frame = rows(completion_tokens=[0, 9, None, 0], response=["12345678", "1", "123456789", ""])
    table = read_table(write(frame, tmp_path / "t.parquet"))
    assert table.samples["completion_tokens"].tolist() == [0, 3, 9, 2]  # ceil(characters / 4); an empty answer has none
    assert "completion tokens are estimated as characters / 4 in 2 of 4 rows" in table.notes


def test_rewards_too_large_to_square_name_their_column(tmp_path):
    (line,) = fault(write(rows(reward=[1e300, -3e300, 0.0, 1e10]), tmp_path / "t.parquet"))
    assert "column reward: the largest is 3e+300 in size" in line
    assert len(read_table(write(rows(reward=[1e90, -3e90, 0.0, 1e10]), tmp_path / "t.parquet")).samples) == 4


def test_rewards_too_small_to_square_name_their_column_too(tmp_path):
    (line,) = fault(write(rows(reward=[1e-300, -3e-300, 0.0, 1e-310]), tmp_path / "t.parquet"))
    assert "column reward: the largest is 3e-300 in size" in line
    assert "allowed is from 1e-100 to 1e+100" in line
    for reward in ([1e-90, -3e-90, 0.0, 1e-300], [0.0] * 4):
        read = read_table(write(rows(reward=reward), tmp_path / "t.parquet")).samples["reward"]
        assert sorted(read) == sorted(reward)


@pytest.mark.parametrize("written", ["0,5", "1,000", "50%", "$3", "0x10"])
def test_a_number_with_a_comma_or_a_unit_is_told_how_to_be_written(tmp_path, written):
    line = fault(write(rows(reward=[written] * 4), tmp_path / "t.csv"))[0]
    assert f"row 0, column reward = '{written}': not a number; write one as 0.5 or 1000" in line
    assert "no comma or unit" in line


def test_models_that_look_alike_are_told(tmp_path):
    frame = rows(model=["gpt", "GPT ", "gpt", "other"])
    (note,) = [n for n in read_table(write(frame, tmp_path / "t.parquet")).notes if n.startswith("models ")]
    assert "models 'GPT ', 'gpt' differ in case, white space or Unicode form alone" in note
    assert "give them one name" in note
    assert not any(n.startswith("models ") for n in read_table(write(rows(), tmp_path / "t.parquet")).notes)


def test_long_numbers_beside_a_missing_one_stay_apart(tmp_path):
    numbers = pd.array([2**60, 2**60 + 1, None, None], dtype="Int64")
    frame = rows(prompt_id=["a", "b", "c", "d"], model="m", group=numbers, prompt=["1", "2", "3", "4"])
    table = read_table(write(frame, tmp_path / "t.parquet"))
    assert table.prompts["group"].tolist() == [str(2**60), str(2**60 + 1), None, None]


@pytest.mark.parametrize("first", [0, 2**62, 2**63])
@pytest.mark.parametrize("tokens", [{}, {"completion_tokens": ["5", "-1", None, "7"]}])
def test_a_folder_that_others_wrote(tmp_path, first, tokens):
    keys = {"prompt_id": "q", "model": "m", "sample": np.arange(first, first + 4, dtype=np.uint64)}
    (tmp_path / "samples").mkdir()
    (tmp_path / "rewards" / "r").mkdir(parents=True)
    pd.DataFrame({"prompt_id": ["q"], "prompt": ["x"]}).to_parquet(tmp_path / "prompts.parquet")
    pd.DataFrame({**keys, **tokens}).to_parquet(tmp_path / "samples" / "part-0.parquet")
    pd.DataFrame({**keys, "reward": [1.0, 2, 3, 4]}).to_parquet(tmp_path / "rewards" / "r" / "part-0.parquet")
    for folder in (tmp_path / "rewards" / "r", tmp_path):
        (folder / "manifest.json").write_text("{}")
    table = read_table(tmp_path)
    assert table.samples["reward"].tolist() == [1, 2, 3, 4]
    assert table.samples["sample"].is_unique
    assert table.samples["completion_tokens"].notna().sum() == (2 if tokens else 0)


def test_a_clash_of_ids_shows_where_the_texts_part_and_counts_once_a_prompt(tmp_path):
    """Texts that begin alike were both shown cut, as one and the same, once for each of their rows."""
    long = "You are a helpful assistant. Answer the question below in one short sentence. Question: "
    endings = {"a": "", "b": "?", "c": " ?"}
    frame = pd.DataFrame(
        [
            {"prompt_id": f"q{i}", "prompt": f"{long}{i}{ending}", "model": model, "reward": 0.5, "sample": sample}
            for i in range(3) for model, ending in endings.items() for sample in range(4)
        ]
    )  # fmt: skip
    found = fault(write(frame, tmp_path / "t.parquet"))
    assert len(found) == 3, "one a prompt, though eight rows of each differ"
    for i, line in enumerate(found):
        assert f"on: {i}' and " in line
        assert f"on: {i}?' (they differ from character {len(long) + 2} on)" in line
        assert f"prompt_id q{i} has two" in line
