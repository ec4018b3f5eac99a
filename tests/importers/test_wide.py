"""A spreadsheet as a reward table: its cells, its forms, and what is refused by name."""

from __future__ import annotations

import gzip
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erp import import_table
from erp.errors import ErpError
from erp.table.read import read_table

FRAME = pd.DataFrame(
    {
        "prompt": ["What, is\n1+1?", "Say; hi", "Grüße"],
        "category": ["add", "chat", "chat"],
        "small": [1.0, 0.25, 0.0],
        "large": [0.5, 1.0, 0.75],
    }
)
CELLS = {
    ("What, is\n1+1?", "small"): 1.0, ("What, is\n1+1?", "large"): 0.5,
    ("Say; hi", "small"): 0.25, ("Say; hi", "large"): 1.0,
    ("Grüße", "small"): 0.0, ("Grüße", "large"): 0.75,
}  # fmt: skip


def cells(table) -> dict[tuple[str, str], float]:
    prompts, members = table.prompts["prompt"], table.members
    rows = table.samples[["prompt", "member", "reward"]].itertuples(index=False)
    return {(prompts[prompt], members[member]): reward for prompt, member, reward in rows}


def imported(path, out, **options):
    return read_table(import_table("wide", path, out=str(out), **{"members": ["small", "large"], **options}).folder)


def refused(path, out, **options) -> str:
    with pytest.raises(ErpError) as caught:
        imported(path, out, **options)
    assert not out.exists()
    assert not [name for name in out.parent.iterdir() if name.name.startswith(".")]
    return str(caught.value)


def text_of(sign: str = ",", end: str = "\n", encoding: str = "utf-8") -> bytes:
    return FRAME.to_csv(index=False, sep=sign, lineterminator=end).encode(encoding)


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("plain.csv", text_of(), {}),
        ("bom.csv", b"\xef\xbb\xbf" + text_of(), {}),
        ("crlf.csv", text_of(end="\r\n"), {}),
        ("semicolon.csv", text_of(";"), {}),
        ("tab.tsv", text_of("\t"), {}),
        ("latin.csv", text_of(encoding="latin-1"), {"encoding": "latin-1"}),
        ("wide.csv", text_of(encoding="utf-16"), {"encoding": "utf-16"}),
        ("packed.csv.gz", gzip.compress(text_of()), {}),
        ("lines.jsonl", FRAME.to_json(orient="records", lines=True).encode(), {}),
        ("array.json", FRAME.to_json(orient="records").encode(), {}),
    ],
)
def test_every_form_is_the_same_table(tmp_path, name, content, options):
    (tmp_path / name).write_bytes(content)
    table = imported(tmp_path / name, tmp_path / "t", **options)
    assert cells(table) == CELLS
    assert table.prompts.set_index("prompt")["category"].to_dict() == dict(
        zip(FRAME["prompt"], FRAME["category"], strict=True)
    )


def test_parquet_workbook_and_archive_too(tmp_path):
    FRAME.to_parquet(tmp_path / "w.parquet")
    FRAME.to_excel(tmp_path / "w.xlsx", index=False)
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("inner/w.csv", text_of())
    for name in ("w.parquet", "w.xlsx", "w.zip"):
        assert cells(imported(tmp_path / name, tmp_path / name.replace(".", "-"))) == CELLS


def test_one_sheet_of_several_has_to_be_named(tmp_path):
    with pd.ExcelWriter(tmp_path / "w.xlsx") as book:
        FRAME.to_excel(book, sheet_name="scores", index=False)
        FRAME.assign(small=0.5).to_excel(book, sheet_name="other", index=False)
    assert "source.sheet = null" in (said := refused(tmp_path / "w.xlsx", tmp_path / "t"))
    assert "scores, other" in said
    assert cells(imported(tmp_path / "w.xlsx", tmp_path / "t", sheet="scores")) == CELLS


@pytest.mark.parametrize("word", ["", "N/A", "null", "None", "nan", "NaN", "-", "#N/A"])
def test_what_is_no_score_is_missing_and_never_0(tmp_path, word):
    (tmp_path / "w.csv").write_text(f"prompt,small,large\na,{word},1\nb,0,0.5\n")
    table = imported(tmp_path / "w.csv", tmp_path / "t")
    found = cells(table)
    assert np.isnan(found.pop(("a", "small")))
    assert found == {("a", "large"): 1.0, ("b", "small"): 0.0, ("b", "large"): 0.5}
    assert any("1 imported rows have no score: there is no score (1)" in note for note in table.notes)


def test_true_and_false_are_1_and_0(tmp_path):
    (tmp_path / "w.csv").write_text("prompt,small,large\na,true,False\nb,TRUE,1\n")
    expected = {("a", "small"): 1.0, ("a", "large"): 0.0, ("b", "small"): 1.0, ("b", "large"): 1.0}
    assert cells(imported(tmp_path / "w.csv", tmp_path / "t")) == expected
    (tmp_path / "w.json").write_text(json.dumps([{"prompt": "a", "small": True, "large": False},
                                                 {"prompt": "b", "small": True, "large": 1}]))  # fmt: skip
    assert cells(imported(tmp_path / "w.json", tmp_path / "u")) == expected


def test_a_decimal_comma_is_refused_by_name_and_left_out_on_request(tmp_path, capsys):
    (tmp_path / "w.csv").write_text("prompt;small;large\na;0,5;1\nb;0.25;2\n")
    said = refused(tmp_path / "w.csv", tmp_path / "t")
    assert "model 'small'" in said
    assert "'0,5'" in said
    assert "a decimal point, no comma" in said
    assert "strict=false" in said
    table = imported(tmp_path / "w.csv", tmp_path / "t", strict=False)
    assert cells(table) == {("a", "large"): 1.0, ("b", "small"): 0.25, ("b", "large"): 2.0}
    assert any("1 imported rows were left out as not understood" in note for note in table.notes)


def test_a_header_that_repeats(tmp_path):
    (tmp_path / "twice.csv").write_text("prompt,small,small\na,1,2\n")
    assert "two columns small" in refused(tmp_path / "twice.csv", tmp_path / "t")
    (tmp_path / "again.csv").write_text("prompt,small,large\na,1,2\nprompt,small,large\nb,3,4\n")
    found = import_table("wide", tmp_path / "again.csv", out=str(tmp_path / "t"), members=["small", "large"])
    assert found.manifest["import"]["left_out"] == {"headers that stand again in a file": 1}
    assert found.manifest["prompts"] == 2


def test_not_utf_8_names_the_option(tmp_path):
    (tmp_path / "w.csv").write_bytes(text_of(encoding="latin-1"))
    assert "source.encoding=latin-1" in refused(tmp_path / "w.csv", tmp_path / "t")
    assert "there is no such encoding" in refused(tmp_path / "w.csv", tmp_path / "t", encoding="klingon")


def test_patterns_of_scores_costs_and_tokens(tmp_path):
    """As the public wide benchmarks have them: `m`, `m|total_cost`."""
    frame = pd.DataFrame(
        {"prompt": ["a", "b"], "m/1": [1, 0], "m/1|total_cost": [0.5, 0.25], "x": [0, 1], "x|total_cost": [0.1, None]}
    )
    frame.to_csv(tmp_path / "w.csv", index=False)
    table = imported(tmp_path / "w.csv", tmp_path / "t", members=["m/1", "x"],
                     of_members={"cost_usd": "{member}|total_cost"})  # fmt: skip
    assert table.members == ("m/1", "x")
    costs = table.samples.assign(prompt=table.prompts["prompt"].to_numpy()[table.samples["prompt"]])
    costs = costs.sort_values(["prompt", "member"])["cost_usd"].tolist()
    np.testing.assert_equal(costs, [0.5, 0.1, 0.25, np.nan])
    frame = frame.rename(columns={"m/1": "score_m/1", "x": "score_x"})
    frame.to_csv(tmp_path / "s.csv", index=False)
    assert imported(tmp_path / "s.csv", tmp_path / "u", members=None, pattern="score_{member}").members == ("m/1", "x")


def test_which_columns_are_members_is_asked_with_the_answer_at_hand(tmp_path):
    (tmp_path / "w.csv").write_text("question,a b,c:d,text\nq,1,0.5,x\n")
    said = refused(tmp_path / "w.csv", tmp_path / "t", members=None, columns={"prompt": "question"})
    assert "columns of numbers a b, c:d" in said
    assert """'source.members=["a b","c:d"]'""" in said
    assert "source.columns.prompt" in refused(tmp_path / "w.csv", tmp_path / "t", members=["c:d"])
    gone = refused(tmp_path / "w.csv", tmp_path / "t", members=["e"], columns={"prompt": "question"})
    assert "has no column 'e'" in gone
    assert "{member}" in refused(tmp_path / "w.csv", tmp_path / "t", pattern="score_")
    assert "allowed are cost_usd" in refused(tmp_path / "w.csv", tmp_path / "t", of_members={"price": "{member}"})


def test_names_of_every_kind_reach_the_table(tmp_path):
    names = ["a/b", "c:d", "e.f", "g=h", "i j", "k'l", 'm"n', "😀", "o,p"]
    pd.DataFrame({"prompt": ["x", "y"], **{name: [0.5, 1] for name in names}}).to_csv(tmp_path / "w.csv", index=False)
    assert set(imported(tmp_path / "w.csv", tmp_path / "t", members=names).members) == set(names)


scores = st.floats(-1e6, 1e6, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-90) | st.none()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(scores, scores), min_size=1, max_size=8))
def test_scores_arrive_to_the_last_bit(tmp_path_factory, rows):
    """Against the numbers themselves, through csv and through json."""
    if all(value is None for row in rows for value in row):
        return
    folder = tmp_path_factory.mktemp("bits")
    frame = pd.DataFrame(rows, columns=["small", "large"], dtype=object)
    frame.insert(0, "prompt", [f"p {i}" for i in range(len(rows))])
    frame.to_csv(folder / "w.csv", index=False)
    (folder / "w.json").write_text(json.dumps(frame.to_dict("records")))
    for name in ("w.csv", "w.json"):
        found = cells(imported(folder / name, folder / name[2:]))
        for i, row in enumerate(rows):
            for member, value in zip(("small", "large"), row, strict=True):
                np.testing.assert_equal(found[f"p {i}", member], np.nan if value is None else value)
