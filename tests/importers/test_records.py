"""Records of a file, whatever it is called and however it is cut."""

from __future__ import annotations

import codecs
import gzip
import json
import tracemalloc

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from erp.errors import ErpError
from erp.importers import objects as module
from erp.importers.files import find
from erp.importers.ledger import Ledger
from erp.importers.records import records

VALUES = [{"a": 1, "b": 'é\n"]},{'}, {"a": None, "b": [{"c": [1, 2]}]}, {"a": -1.5e3, "b": " "}]


def read(path, ledger=None):
    (file,) = find(str(path), ["*"])
    return [dict(found.values) for found in records(file, ledger or Ledger())]


def put(path, data: str | bytes):
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


LINES = "\n".join(map(json.dumps, VALUES))
FORMS = {
    "an array": json.dumps(VALUES),
    "an array over lines": json.dumps(VALUES, indent=2),
    "an array behind blank lines": "\n \n" + json.dumps(VALUES) + "\n",
    "lines": LINES,
    "lines with blank ones and CRLF": LINES.replace("\n", "\r\n\r\n") + "\n",
}


@pytest.mark.parametrize("chunk", [3, 7, 1 << 20])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["plain", "byte order mark"])
def test_json_and_json_lines_are_told_apart_by_content(tmp_path, monkeypatch, form, mark, chunk):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    assert read(put(tmp_path / "a.json", mark + FORMS[form].encode())) == VALUES


def test_packed_ones_are_read_as_what_they_hold(tmp_path):
    assert read(put(tmp_path / "a.jsonl.gz", gzip.compress(LINES.encode()))) == VALUES
    assert read(put(tmp_path / "a.csv.gz", gzip.compress(b'a,b\n1,"x\ny"\n'))) == [{"a": "1", "b": "x\ny"}]


@given(st.lists(st.dictionaries(st.text(max_size=4), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3), max_leaves=5)), max_size=6), st.integers(1, 40))  # fmt: skip
def test_an_array_is_what_json_says_that_it_is_however_it_comes(values, size):
    text = json.dumps(values)
    assert list(module._items(iter([text[i : i + size] for i in range(0, len(text), size)]))) == values


def test_an_array_is_not_read_into_memory_whole(tmp_path):
    one = json.dumps({"text": "x" * 5_000})
    path = put(tmp_path / "a.json", "[" + ", ".join([one] * 12_000) + "]")  # 60 MB
    (file,) = find(str(path), ["*"])
    tracemalloc.start()
    try:
        assert sum(1 for _ in records(file, Ledger())) == 12_000
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "count", "said"),
    [
        (json.dumps([VALUES[0], 3, "x"]), 1, "a int"),
        ('{"a": 1}\n{"a": \n{"a": 2}', 2, "line 2: Expecting value"),
        ('{"a": 1}\n[1]\nnull', 1, "line 2: a list"),
        ("{\n", 0, "line 1: Expecting"),
        ("plain text", 0, "line 1: Expecting"),
    ],
)  # fmt: skip
def test_what_is_no_record_is_a_fault_with_its_place(tmp_path, text, count, said):
    ledger = Ledger()
    assert len(read(put(tmp_path / "a.json", text), ledger)) == count
    assert list(ledger.faults) == ["no record"]
    places = " ".join(ledger.places["no record"])
    assert "a.json" in places
    assert any(part in places for part in said.split("|"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps(VALUES)[:-1], "the array does not end"),
        (json.dumps(VALUES)[:-9], "Unterminated string"),
        (json.dumps(VALUES)[:40], "Unterminated string|Expecting"),
        (json.dumps(VALUES) + "[", "something follows the array"),
        ("[" * 100_000, "recursion"),
    ],
    ids=["no end", "cut late", "cut early", "more", "deep"],
)
def test_an_array_that_is_not_whole_is_an_error(tmp_path, text, said):
    with pytest.raises(ErpError, match=rf"a\.json: cannot be read \(.*({said}).*check that it is whole"):
        read(put(tmp_path / "a.json", text))


def test_bytes_that_are_no_text_are_a_fault(tmp_path):
    ledger = Ledger()
    assert read(put(tmp_path / "a.jsonl", b'{"a": 1}\n{"a": "\xff"}\n{"a": 2}'), ledger) == [{"a": 1}, {"a": 2}]
    assert ledger.faults["no record"] == 1


def test_a_file_that_is_not_what_its_name_says_is_an_error_in_a_line(tmp_path):
    for name in ("a.parquet", "a.csv", "a.pkl"):
        with pytest.raises(ErpError, match=f"^path = .*{name}: "):
            read(put(tmp_path / name, b"PAR1\x00\xff\xfe\n,\xff"))


def test_columns_that_share_a_name_are_refused(tmp_path):
    with pytest.raises(ErpError, match="two columns b"):
        read(put(tmp_path / "a.csv", "a,b,b\n1,2,3\n"))


def test_objects_and_nulls_of_parquet_stay_what_they_are(tmp_path):
    pd.DataFrame({"a": [{"score": 0.5, "n": 3}, None], "b": [None, 7]}).to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [{"a": {"score": 0.5, "n": 3}, "b": None}, {"a": None, "b": 7}]
