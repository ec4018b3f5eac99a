"""Files that are never half-written, and JSON that every reader takes."""

import hashlib
import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest

from erp.files import cache_folder, jsonable, locked, read_json, replacing, sha256_file, write_json, write_text


def test_replacing_writes_beside_and_then_replaces(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"  # writers that look at the ending still do the right thing
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_no_litter(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_value_json_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_one_whole_file_or_the_other(tmp_path):
    path = tmp_path / "file.txt"
    texts = {letter * 200_000 for letter in "ab"}
    write_text(path, next(iter(texts)))
    done = threading.Event()

    def write():
        for _ in range(20):
            for text in texts:
                write_text(path, text)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = {path.read_text()}
    while not done.is_set():
        seen.add(path.read_text())
    writer.join()
    assert seen <= texts


def test_jsonable_makes_plain_values():
    value = {
        "scalar": np.float32(0.5),
        "integer": np.int64(3),
        "flag": np.bool_(True),
        "matrix": np.array([[1.0, np.nan], [np.inf, 4.0]]),
        "nested": [(1, np.float64("-inf")), {"x": math.nan}],
        "words": np.array(["a", "b"], dtype=object),
        7: None,
        "text": "é",
    }
    assert jsonable(value) == {
        "scalar": 0.5,
        "integer": 3,
        "flag": True,
        "matrix": [[1.0, None], [None, 4.0]],
        "nested": [[1, None], {"x": None}],
        "words": ["a", "b"],
        "7": None,
        "text": "é",
    }
    assert type(jsonable(np.bool_(True))) is bool
    assert type(jsonable(np.int64(3))) is int


def test_json_files_are_strict_and_readable(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"bad": [math.nan, math.inf, -math.inf], "text": "naïve 🙂", "number": 0.1})

    def refuse(constant):
        raise AssertionError(constant)

    text = path.read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse) == {"bad": [None] * 3, "text": "naïve 🙂", "number": 0.1}
    assert "naïve 🙂" in text
    assert text.endswith("}\n")


def test_read_json_takes_objects_only(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("[1]")
    with pytest.raises(ValueError, match=r"file.json holds no JSON object"):
        read_json(path)


def test_locked_keeps_others_out_and_lets_them_in_afterwards(tmp_path):
    from filelock import Timeout

    path = tmp_path / "deep" / "thing"
    outcomes = []

    def attempt():
        try:
            with locked(path, timeout_s=0):
                outcomes.append("in")
        except Timeout:
            outcomes.append("out")

    def elsewhere():
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()

    with locked(path):
        elsewhere()
    elsewhere()
    with pytest.raises(KeyError), locked(path):
        raise KeyError
    elsewhere()
    assert outcomes == ["out", "in", "in"]


def test_sha256_is_of_the_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)
    assert sha256_file(path) == hashlib.sha256(b"x" * 3_000_000).hexdigest()


def test_the_cache_is_where_it_is_configured_else_erp_cache_else_the_users(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("ERP_CACHE", "~/mine")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder("~/given") == Path("/home/someone/given")
    assert cache_folder(None) == Path("/home/someone/mine")
    monkeypatch.setenv("ERP_CACHE", "")
    assert cache_folder(None) == Path("/xdg/erp")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder(None) == Path("/home/someone/.cache/erp")
