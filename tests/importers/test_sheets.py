"""Sheets as people have them: headers over two lines, columns without a name, thousands of members, damage."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import zipfile
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from erp import cli, import_table
from erp.errors import ErpError
from erp.table.read import read_table


def imported(path, members=("small", "large"), **options):
    options = {"members": None if members is None else list(members), "out": path.parent / "t", **options}
    return import_table("wide", path, **options)


def cells(found) -> dict[tuple[str, str], float]:
    table = read_table(found.folder)
    rows = table.samples[["prompt", "member", "reward"]].itertuples(index=False)
    return {(table.prompts["prompt"][prompt], table.members[member]): reward for prompt, member, reward in rows}


def workbook(path: Path, *rows: list[object]) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def of_sheet(path: Path, change) -> None:
    """Change the bytes of a workbook's sheet."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in held.items():
            archive.writestr(name, change(content) if "sheet1" in name else content)


def test_columns_without_a_name_are_passed_over(tmp_path):
    (tmp_path / "w.csv").write_text("prompt,,small,large,,\na,9,1,2,,\nb,9,3,4,,\n,,,,,\nprompt,,small,large,,\n")
    expected = {("a", "small"): 1, ("a", "large"): 2, ("b", "small"): 3, ("b", "large"): 4}
    found = imported(tmp_path / "w.csv", strict=False)
    assert cells(found) == expected
    assert found.manifest["import"]["left_out"] == {"headers that stand again in a file": 1}
    path = workbook(tmp_path / "w.xlsx", ["prompt", None, "small", None, "large", None], ["a", 9, 1, 9, 2],
                    ["b", None, 3, None, 4, 9])  # fmt: skip
    assert cells(imported(path, out=tmp_path / "u")) == expected


def test_a_header_over_two_lines(tmp_path):
    (tmp_path / "w.csv").write_text('\n"prompt","small\n(8B)",large\n"a\nb",0.5,1\n')
    found = imported(tmp_path / "w.csv", ["small\n(8B)", "large"])
    assert cells(found) == {("a\nb", "small\n(8B)"): 0.5, ("a\nb", "large"): 1.0}


def test_a_workbook_whose_size_is_written_wrong_and_a_damaged_one(tmp_path):
    rows = [["prompt", "small", "large"], *(["p" + str(i), i, None if i % 2 else 0] for i in range(300))]
    path = workbook(tmp_path / "w.xlsx", *rows)
    of_sheet(path, lambda xml: re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1"', xml))
    found = cells(imported(path))
    assert len(found) == 600
    assert found["p299", "small"] == 299
    assert np.isnan(found["p299", "large"])
    of_sheet(path, lambda xml: xml[: len(xml) // 2])
    with pytest.raises(ErpError, match=r"a whole \.xlsx workbook"):
        imported(path, out=tmp_path / "u")
    assert not (tmp_path / "u").exists()


def test_integers_beyond_all_floats_are_infinite_and_no_score(tmp_path):
    huge = 10**400
    rows = [{"prompt": "a", "small": huge, "large": 1}, {"prompt": "b", "small": -huge, "large": True}]
    (tmp_path / "w.json").write_text(json.dumps(rows))
    found = imported(tmp_path / "w.json")
    assert found.manifest["import"]["missing"] == {"the score is infinite": 2}
    assert cells(found)["b", "large"] == 1.0


def test_dictionaries_of_parquet_hold_words_for_no_score_too(tmp_path):
    columns = {"prompt": ["a", "b"], "small": pa.array(["0.5", "N/A"]).dictionary_encode(), "large": [1, 0]}
    pq.write_table(pa.table(columns), tmp_path / "w.parquet")
    found = imported(tmp_path / "w.parquet")
    assert found.manifest["import"]["missing"] == {"there is no score": 1}
    assert cells(found)["a", "small"] == 0.5


def test_lines_that_are_no_json_are_counted(tmp_path):
    (tmp_path / "w.jsonl").write_text('{"prompt": "a", "small": 1, "large": 2}\n[1]\n{"prompt": "b", "sm')
    with pytest.raises(ErpError, match=r"2 rows: no record; first: w\.jsonl line 2: a list; w\.jsonl line 3: "):
        imported(tmp_path / "w.jsonl")
    found = imported(tmp_path / "w.jsonl", strict=False)
    assert found.manifest["import"]["not_understood"] == {"no record": 2}
    assert cells(found) == {("a", "small"): 1, ("a", "large"): 2}


def test_a_member_whose_key_comes_late_is_found_by_the_pattern(tmp_path):
    rows = [{"prompt": f"p {i}", "s_m": i % 2, **({"s_late": 0.5} if i == 9000 else {})} for i in range(9001)]
    (tmp_path / "w.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = cells(imported(tmp_path / "w.jsonl", None, pattern="s_{member}"))
    assert found["p 9000", "late"] == 0.5
    assert sum(member == "m" for _, member in found) == 9001


def test_a_column_for_each_of_thousands_of_members(tmp_path, monkeypatch):
    monkeypatch.setattr("erp.importers.sheets._CELLS", 30_000)  # so that 20 rows are more than are held at once
    names = [f"m{i}" for i in range(2000)]
    scores = np.random.default_rng(0).integers(0, 100, (20, 2000)) / 100
    frame = pd.DataFrame(scores, columns=names)
    frame.insert(0, "prompt", [f"p {i}" for i in range(len(frame))])
    frame.to_csv(tmp_path / "w.csv", index=False)
    table = read_table(imported(tmp_path / "w.csv", names).folder)
    order = [names.index(name) for name in table.members]
    rows = [int(text[2:]) for text in table.prompts["prompt"]]
    found = table.samples["reward"].to_numpy().reshape(20, 2000)
    np.testing.assert_array_equal(found, scores[np.ix_(rows, order)])


def test_a_column_of_scores_is_no_label_of_prompts(tmp_path):
    (tmp_path / "w.csv").write_text("prompt,group,category\na,1,0\nb,0,1\n")
    found = imported(tmp_path / "w.csv", ["group", "category"])
    assert list(found.manifest["import"]["coverage"]["group"]) == ["(none)"]
    assert read_table(found.folder).prompts["category"].isna().all()


def test_suffixes_in_capitals(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "A.CSV").write_text("prompt,small,large\na,1,2\n")
    with gzip.open(logs / "B.CSV.GZ", "wt") as packed:
        packed.write("prompt,small,large\nb,1,2\n")
    assert imported(logs).manifest["prompts"] == 2
    assert imported(logs / "B.CSV.GZ", out=tmp_path / "u").manifest["prompts"] == 1


def test_words_for_nothing_in_costs_and_tokens(tmp_path):
    (tmp_path / "w.csv").write_text("prompt,small,large,small_c,large_c\na,1,2,N/A,0.5\nb,1,2,0.1,-\n")
    found = imported(tmp_path / "w.csv", of_members={"cost_usd": "{member}_c"})
    table = read_table(found.folder)
    samples = table.samples.assign(text=[table.prompts["prompt"][prompt] for prompt in table.samples["prompt"]])
    np.testing.assert_equal(samples.sort_values(["text", "member"])["cost_usd"].tolist(), [0.5, np.nan, np.nan, 0.1])


def test_a_pattern_that_no_column_is_like_is_refused(tmp_path):
    (tmp_path / "w.csv").write_text("prompt,small,large,small_c\na,1,2,0.5\n")
    with pytest.raises(ErpError, match=r"source\.of_members\.cost_usd = \{member\}_cost: no column"):
        imported(tmp_path / "w.csv", of_members={"cost_usd": "{member}_cost"})


def test_another_import_in_its_place_is_told_by_the_options_that_differ(tmp_path):
    (tmp_path / "w.csv").write_text("prompt,small,large\na,1,2\n")
    imported(tmp_path / "w.csv")
    with pytest.raises(ErpError) as caught:
        imported(tmp_path / "w.csv", ["small"], repeats="samples")
    assert str(caught.value) == (
        f"out = {tmp_path / 't'}: holds an import with options.members = ['small', 'large'], and this one has "
        "['small']; options.repeats = error, and this one has samples; give another out, or remove it"
    )


def test_files_with_columns_of_other_members(tmp_path):
    for name, rows in (("a", "1,x,1\n2,y,0\n"), ("b", "1,x,0.5\n2,y,\n")):
        (tmp_path / f"{name}.csv").write_text(f"prompt_id,prompt,{name}\n{rows}")
    found = imported(tmp_path / "*.csv", ["a", "b"], out=tmp_path / "t")
    assert cells(found).items() >= {("x", "a"): 1, ("x", "b"): 0.5, ("y", "a"): 0}.items()
    assert found.manifest["samples"] == 4
    assert found.manifest["notes"][0] == (
        "Not every file has scores of every member: a.csv none of b, b.csv none of a."
    )
    with pytest.raises(ErpError, match=r"no file of path = .* has scores of c; correct"):
        imported(tmp_path / "*.csv", ["a", "b", "c"], out=tmp_path / "u")
    with pytest.raises(ErpError, match=r"b\.csv has no column 'a', 'c'"):
        imported(tmp_path / "*.csv", ["a", "c"], out=tmp_path / "u")


def test_a_category_that_is_called_as_none_is(tmp_path):
    (tmp_path / "w.csv").write_text("prompt,category,small,large\na,(none),1,2\nb,,1,\n")
    coverage = imported(tmp_path / "w.csv").manifest["import"]["coverage"]
    assert coverage["small"] == {"(none)": {"scored": 2, "missing": 0, "errors": 0}}
    assert coverage["large"] == {"(none)": {"scored": 1, "missing": 1, "errors": 0}}


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (gzip.compress(b"prompt,small,large\na,1,2\n"), r"let its name end in \.gz"),
        ("prompt,small,large\na,1,2\n".encode("utf-16"), "source.encoding=utf-16"),
        ("prompt,small,large\n\u201ca\u201d,1,2\n".encode("cp1252"), "source.encoding=latin-1, or cp1252"),
    ],
)
def test_what_is_no_utf_8_is_told_apart(tmp_path, content, advice):
    (tmp_path / "w.csv").write_bytes(content)
    with pytest.raises(ErpError, match=advice):
        imported(tmp_path / "w.csv")


NAMES = ["a b", "c:d", 'e"f', "it's", "g,h", "i=j", "x\\y", "{z}", "[w]", "(p)", "$d", "😀", "null", "true", "1", "~t"]


def test_the_command_that_names_members_can_be_pasted(tmp_path, capsys):
    pd.DataFrame({"prompt": ["q", "r"], **{name: [1, 0] for name in NAMES}}).to_csv(tmp_path / "w.csv", index=False)
    with pytest.raises(ErpError) as caught:
        imported(tmp_path / "w.csv", None)
    (word,) = [word for word in shlex.split(str(caught.value).split("; ")[-1]) if word.startswith("source.members")]
    assert cli.main(["import", f"path={tmp_path / 'w.csv'}", f"out={tmp_path / 't'}", word.rstrip(",")]) == 0
    assert read_table(tmp_path / "t").members == tuple(sorted(NAMES))


def test_the_command_that_takes_one_members_texts_can_be_pasted(tmp_path, capsys):
    for name, prompt in (("m (1), it's", "a"), ("n", "A?")):
        pd.DataFrame({"prompt_id": [1], "prompt": [prompt], f"s_{name}": [1]}).to_csv(
            tmp_path / f"{name[0]}.csv", index=False
        )
    words = ["import", f"path={tmp_path / '*.csv'}", f"out={tmp_path / 't'}", 'source.pattern="s_{member}"']
    assert cli.main(words) == 2
    said = capsys.readouterr().err.splitlines()[0]
    assert cli.main([*words, *shlex.split(said.partition("for example ")[2])]) == 0
    assert read_table(tmp_path / "t").prompts["prompt"].tolist() == ["a"]
