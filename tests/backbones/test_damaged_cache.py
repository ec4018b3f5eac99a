"""The embedding cache under damage: what does not fit is embedded again and said, and the numbers never change."""

import json
import multiprocessing
import re
import shutil

import numpy as np
import pytest

from erp import cli
from erp.backbones.cache import cached_embeddings
from erp.errors import ErpError
from tests.backbones.test_cache import DIMENSIONS, Counting, ask, expected, only_folder

PROMPTS = [f"{'long ' * (i % 5)}prompt number{i}" for i in range(572)]
RIGHT = expected(PROMPTS)
ROW = DIMENSIONS * 4
FILES = ["vectors.f32", "index.bin", "about.json"]


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    cache = tmp_path_factory.mktemp("warm")
    ask(PROMPTS, cache)
    return cache


@pytest.fixture
def cache(warm, tmp_path):
    """A cache that holds all prompts, to be damaged."""
    shutil.copytree(warm, tmp_path / "cache")
    return tmp_path / "cache"


def damage(file, change):
    data = bytearray(file.read_bytes())
    changed = change(data)  # None: in place
    file.write_bytes(bytes(data if changed is None else changed))


def zeros(data):
    data[4096:8192] = bytes(4096)


def flipped_signs(data):
    data[:] = (-np.frombuffer(data, dtype=np.float32)).tobytes()


def swapped_rows(data):
    data[:ROW], data[ROW : 2 * ROW] = data[ROW : 2 * ROW], data[:ROW]


def swapped_chunks(data):
    half = 256 * ROW
    return data[half : 2 * half] + data[:half] + data[2 * half :]


def in_64_bits(data):
    return np.frombuffer(data, dtype=np.float32).astype(np.float64).tobytes()


def wider(data):
    return np.pad(np.frombuffer(data, dtype=np.float32).reshape(-1, DIMENSIONS), ((0, 0), (0, 1))).tobytes()


def not_a_number(data):
    data[ROW : ROW + 4] = np.float32(np.nan).tobytes()


def one_bit(data):
    data[3 * ROW + 5] ^= 1


def half(data):
    return data[: len(data) // 2]


def torn(data):
    return data[: len(data) - 7]


def litter(data):
    return data + b"\x7f" * 1000


def emptied(_):
    return b""


DAMAGES = [
    *[("vectors.f32", how) for how in (zeros, flipped_signs, swapped_rows, swapped_chunks, in_64_bits, wider,
                                       not_a_number, one_bit, half, torn, litter)],
    *[("index.bin", how) for how in (zeros, half, torn, litter, one_bit)],
]  # fmt: skip


def healed(cache, capsys):
    """The vectors are right, a line says that something was lost, and after that all is as it was."""
    backbone = Counting()
    assert np.array_equal(ask(PROMPTS, cache, backbone), RIGHT)
    lines = capsys.readouterr().err.strip().splitlines()
    again = Counting()
    assert np.array_equal(ask(PROMPTS, cache, again), RIGHT)
    assert again.seen == []
    assert capsys.readouterr().err == ""
    assert (only_folder(cache) / "vectors.f32").stat().st_size == len(PROMPTS) * ROW
    return backbone.embedded, lines


@pytest.mark.parametrize(("name", "change"), DAMAGES)
def test_what_does_not_fit_is_embedded_again_and_said(cache, capsys, name, change):
    damage(only_folder(cache) / name, change)
    if change is litter:  # behind the end: looked past until something is added
        assert np.array_equal(ask(PROMPTS, cache, backbone := Counting()), RIGHT)
        assert backbone.seen == []
        (only_folder(cache) / "index.bin").write_bytes((only_folder(cache) / "index.bin").read_bytes()[24:])
    embedded, lines = healed(cache, capsys)
    assert len(lines) == 1
    assert re.match(rf"cache_dir = {cache}: [\d,]+ of [\d,]+ embeddings in \w+ were damaged or incomplete", lines[0])
    few = {zeros: 33, swapped_rows: 2, not_a_number: 1, one_bit: 1, torn: 1}.get(change)
    if few is not None and name == "vectors.f32":
        assert len(embedded) <= few  # and only what does not fit


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [emptied, half, lambda data: b"\x00" * len(data), lambda data: b"\xff[{" * 99])
def test_a_file_that_is_empty_or_garbage(cache, capsys, name, change):
    damage(only_folder(cache) / name, change)
    _, lines = healed(cache, capsys)
    assert len(lines) == 1


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("instead", ["nothing", "a folder", "a full folder", "a link to nowhere"])
def test_a_file_that_is_something_else(cache, capsys, name, instead):
    path = only_folder(cache) / name
    path.unlink()
    if "folder" in instead:
        path.mkdir()
    if instead == "a full folder":
        (path / "inside").write_text("something")
    if instead == "a link to nowhere":
        path.symlink_to(cache / "nowhere")
    healed(cache, capsys)


@pytest.mark.parametrize(
    "about", [{}, {"dimension": 16}, {"dimension": 0}, {"dimension": -1}, {"dimension": "32"}, {"dimension": 10**40},
              {"dimension": True}, {"window": 5}, [], {"check": 0}]
)  # fmt: skip
def test_an_about_that_says_something_else(cache, capsys, about):
    file = only_folder(cache) / "about.json"
    content = {**json.loads(file.read_text()), **about} if about else about
    file.write_text(json.dumps(content))
    healed(cache, capsys)


def test_an_about_that_is_whole_and_wrong_is_begun_anew(cache, capsys):
    """As a backbone leaves it that once gave shorter vectors under the same fingerprint."""
    from erp.backbones.store import begin

    begin(only_folder(cache), "another", 16, None)
    healed(cache, capsys)


@pytest.mark.parametrize("seed", range(60))
def test_any_damage(cache, seed):
    """Anything may be written over, cut out or put in, anywhere, several times: the vectors are right."""
    random = np.random.default_rng(seed)
    for _ in range(random.integers(1, 4)):
        file = only_folder(cache) / FILES[random.integers(3) if seed % 3 else 0]
        data = bytearray(file.read_bytes())
        at, size = random.integers(len(data) + 1), int(2 ** random.uniform(0, 14))
        junk = random.bytes(size)
        match random.integers(4):
            case 0:
                data[at : at + size] = junk
            case 1:
                data[at:at] = junk
            case 2:
                del data[at : at + size]
            case _:
                for bit in random.integers(8 * max(1, len(data)), size=3):
                    if data:
                        data[bit // 8] ^= 1 << (bit % 8)
        file.write_bytes(bytes(data))
    part = [PROMPTS[i] for i in random.permutation(len(PROMPTS))[:50]]
    assert np.array_equal(ask(part, cache), expected(part))
    assert np.array_equal(ask(PROMPTS, cache), RIGHT)
    again = Counting()
    assert np.array_equal(ask(PROMPTS, cache, again), RIGHT)
    assert again.seen == []


def test_who_has_the_rows_mapped_keeps_them(cache):
    """Files are replaced, never written over: a training that runs does not see another process mend the cache."""
    embeddings = cached_embeddings(PROMPTS, Counting(), cache, progress=False)
    file = only_folder(cache) / "index.bin"
    file.write_bytes(file.read_bytes()[:-240])
    ask([f"other prompt{i}" for i in range(20)], cache)
    assert np.array_equal(embeddings.take(np.arange(len(PROMPTS))), RIGHT)


def _ask_in_a_process(cache, start):
    prompts = PROMPTS[start : start + 200]
    assert np.array_equal(ask(prompts, cache), expected(prompts))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_several_processes_meet_a_damaged_cache(cache):
    damage(only_folder(cache) / "vectors.f32", zeros)
    damage(only_folder(cache) / "index.bin", torn)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_ask_in_a_process, args=(cache, 50 * i)) for i in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 6
    assert np.array_equal(ask(PROMPTS, cache), RIGHT)


def test_a_cache_that_may_not_be_read_is_named(cache, monkeypatch):
    from erp.backbones import store

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(store, "read_json", refused)
    with pytest.raises(ErpError, match=f"cache_dir = {cache}: cannot be read \\(Permission denied\\)"):
        ask(PROMPTS, cache)


def test_a_damaged_cache_gives_the_same_run(tmp_path, monkeypatch, capsys):
    """Through the command line: the same numbers, exit code 0, one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERP_CACHE", str(tmp_path / "cache"))
    command = ["train", "data=synthetic", "data.prompts=200", "backbone=hashing", "bootstrap.draws=200"]
    command += ["figures=false", "tracking=off"]
    results = []
    for out in ("first", "second"):
        assert cli.main([*command, f"out={out}"]) == 0
        err = capsys.readouterr().err
        assert ("were damaged" in err) == (out == "second")
        (folder,) = (path for path in (tmp_path / out).iterdir() if path.is_dir())
        results.append(json.loads((folder / "results.json").read_text())["routing"])
        damage(only_folder(tmp_path / "cache") / "vectors.f32", zeros)
    assert results[0] == results[1]
