"""Files of every source that went through somebody's hands: a table, or faults in lines; nothing half-written."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from erp import cli, import_table
from erp.compose import options as known
from erp.errors import ErpError
from erp.table.read import read_table
from tests.importers import (
    inspect_logs,
    lm_eval_logs,
    test_alpaca_eval,
    test_embedllm,
    test_every_eval_ever,
    test_gateway,
    test_helm,
    test_langfuse,
    test_lighteval,
    test_litellm,
    test_llmrouter,
    test_llmrouterbench,
    test_mix_instruct,
    test_promptfoo,
    test_routellm,
    test_routerbench,
    test_routerdc,
    test_sprout,
    test_ultrafeedback,
)

_UF, _MIX, _LRB, _LF = test_ultrafeedback, test_mix_instruct, test_llmrouterbench, test_langfuse
TRIES = 14  # of each source


def _wide(at: Path) -> None:
    at.mkdir()
    pd.DataFrame({"prompt": list("abcd"), "m": [0.0, 1.0, 0.5, None], "n": [1, 0, 1, 0]}).to_csv(
        at / "a.csv", index=False
    )


def _inspect(at: Path) -> None:
    inspect_logs.write(at, [inspect_logs.sample(n, e) for n in range(3) for e in (1, 2)], name="a.eval", zstd=False)
    inspect_logs.write(at, [inspect_logs.sample(n) for n in range(3)], inspect_logs.header("x/large"), "b.json")


def _helm(at: Path) -> None:
    for model in ("org/small", "org/large"):
        ids = [f"id{n}" for n in range(3)]
        test_helm.write(at, [test_helm.stats(i) for i in ids], [test_helm.state(i) for i in ids], model)


def _traces(at: Path) -> None:
    scored = [_LF.score(n / 2, observation=f"g{n}") for n in range(3)]
    made = [_LF.generation(f"g{n}", f"{n}?") for n in range(3)]
    _LF.write(at / "trace.json", _LF.trace(*made, scores=scored))
    _LF.write(at / "rows.jsonl", [_LF.generation(f"h{n}", f"{n}?", quality=[0.5]) for n in range(3)])


# source -> what writes whole files of it, and the options it needs
WHOLE: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
    "alpaca_eval": (lambda p: test_alpaca_eval.write(p, *(test_alpaca_eval.annotation(t) for t in "abc")), {}),
    "embedllm": (lambda p: test_embedllm.write(p, train=[test_embedllm.answer(n) for n in range(4)]), {}),
    "every_eval_ever": (
        lambda p: test_every_eval_ever.write(
            p, *(test_every_eval_ever.sample(n) for n in range(4)), results=[test_every_eval_ever.result()]
        ),
        {},
    ),
    "gateway": (
        lambda p: test_gateway.write(p, *map(test_gateway.decision, "123"), feedback=[("1", 1.0), ("2", 0.5)]),
        {},
    ),
    "helm": (_helm, {}),
    "inspect": (_inspect, {}),
    "langfuse": (_traces, {"score": "quality"}),
    "lighteval": (lambda p: test_lighteval.write(p, *(test_lighteval.new(n) for n in range(4))), {}),
    "litellm": (
        lambda p: test_litellm.write(
            _made(p) / "logs.jsonl", *(test_litellm.request(n, 0.5, str(n)) for n in range(4))
        ),
        {},
    ),
    "llmrouter": (lambda p: test_llmrouter.write(p, train=[test_llmrouter.response(q) for q in "abc"]), {}),
    "llmrouterbench": (lambda p: _LRB.write(p, "aime", "m", *(_LRB.record(n) for n in range(3))), {}),
    "lm_eval": (
        lambda p: [lm_eval_logs.write(p, m, lm_eval_logs.plain([1.0, 0.0, 1.0])) for m in ("small", "org/large")],
        {},
    ),
    "mix_instruct": (
        lambda p: _MIX.write(p, test=[_MIX.item(f"a/{n}", *_MIX.TWO) for n in range(3)]),
        {"score": "bertscore"},
    ),
    "promptfoo": (
        lambda p: test_promptfoo.write(p / "results.json", *(test_promptfoo.result(q) for q in "abc")),
        {},
    ),
    "routellm": (lambda p: test_routellm.write(p, gsm8k=[{"prompt": q, "m": True, "n": False} for q in "abc"]), {}),
    "routerbench": (lambda p: test_routerbench.write(p, "pickle 4"), {}),
    "routerdc": (lambda p: test_routerdc.write(p, mbpp_test=[test_routerdc.item(q, m=0.5, n=1.0) for q in "abc"]), {}),
    "sprout": (
        lambda p: test_sprout.write(p, test=[test_sprout.prompt(n, str(n), m=test_sprout.told(0.5)) for n in range(3)]),
        {},
    ),
    "ultrafeedback": (lambda p: _UF.write(p, sharegpt=_UF.ROWS), {"score": "fine-grained_score"}),
    "wide": (_wide, {"members": ["m", "n"]}),
}
PACKS = ((".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress))
HOW = ("cut", "flipped", "changed", "changed", "shuffled", "gone", "packed")
ODD = (None, "", "x", -1, 1e400, True, [], {}, [[{}]], "N/A", "\ud800", 10**30, 10**5000, 0, {"a": None}, [None, 1])


def _made(at: Path) -> Path:
    at.mkdir()
    return at


def cut(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: rng.integers(len(data))]


def flipped(rng: np.random.Generator, data: bytes) -> bytes:
    some = bytearray(data)
    for at in rng.integers(0, len(some), 1 + rng.integers(4)):
        some[at] = rng.integers(256)
    return bytes(some)


def changed(rng: np.random.Generator, value: Any) -> Any:
    """A document of JSON with one value that is another, or one key fewer."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        which = list(value)[rng.integers(len(value))]
        if rng.random() < 0.25:
            return {key: value[key] for key in value if key != which}
        return {key: changed(rng, item) if key == which else item for key, item in value.items()}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.integers(len(value))
        return [changed(rng, item) if i == at else item for i, item in enumerate(value)]
    return ODD[rng.integers(len(ODD))]


def shuffled(rng: np.random.Generator, value: Any) -> Any:
    """A document of JSON with all keys in another order."""
    if isinstance(value, dict):
        keys = list(value)
        return {keys[i]: shuffled(rng, value[keys[i]]) for i in rng.permutation(len(keys))}
    return [shuffled(rng, item) for item in value] if isinstance(value, list) else value


def edited(data: bytes, suffix: str, edit: Callable[[Any], Any]) -> bytes:
    """The file of a kind with its content edited. Raises what that kind cannot hold."""
    if suffix == ".csv":
        rows = [row for row in edit(pd.read_csv(io.BytesIO(data)).to_dict("records")) if isinstance(row, dict)]
        return pd.DataFrame(rows).to_csv(index=False).encode("utf-8", "replace")
    if suffix == ".parquet":
        rows = [row for row in edit(pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()) if isinstance(row, dict)]
        stream = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
        return stream.getvalue()
    if suffix == ".pkl":
        return pickle.dumps(test_routerbench.frame([r for r in edit(test_routerbench.ROWS) if isinstance(r, dict)]), 4)
    if suffix == ".eval":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: json.loads(archive.read(name)) for name in archive.namelist()}
        edits = edit(members)
        return inspect_logs.packed(edits if isinstance(edits, dict) else {}, zstd=False)
    text = data.decode()
    if suffix in (".jsonl", ".ndjson"):
        return "\n".join(_dumped(line) for line in edit([json.loads(line) for line in text.splitlines()])).encode()
    return _dumped(edit(json.loads(text))).encode()


def _dumped(value: Any) -> str:
    return json.dumps(value, default=str)


def damage(rng: np.random.Generator, files: list[Path], how: str) -> None:
    """Do something to one of the files that is not meant by it; where its kind cannot hold that, it is cut."""
    file = files[rng.integers(len(files))]
    data = file.read_bytes()
    if how in ("gone", "packed"):
        file.unlink()
        if how == "packed":
            suffix, pack = PACKS[rng.integers(len(PACKS))]
            file.with_name(file.name + suffix).write_bytes(flipped(rng, pack(data)))
        return
    try:
        if how in ("cut", "flipped"):
            data = {"cut": cut, "flipped": flipped}[how](rng, data)
        else:
            edit = {"changed": changed, "shuffled": shuffled}[how]
            data = edited(data, file.suffix, lambda value: edit(rng, value))
    except (TypeError, ValueError, AttributeError, OverflowError, pyarrow.ArrowException):
        data = cut(rng, data)
    file.write_bytes(data)


def tried(source: str, seed: int, at: Path, capsys: pytest.CaptureFixture[str]) -> bool:
    """Import what was damaged; whether a table came of it. Anything but that and faults fails here."""
    write, options = WHOLE[source]
    rng = np.random.default_rng([seed, *map(ord, source)])
    path, out = at / f"in-{seed}", at / f"out-{seed}" / "table"
    write(path)
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name != "model_outputs.json"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that write what is damaged
        damage(rng, files, HOW[seed % len(HOW)])
    strict = bool(rng.integers(2))
    if seed % 4 == 0:
        given = [f"source.{name}={json.dumps(value)}" for name, value in options.items()]
        words = [f"source={source}", f"path={path}", f"out={out}", f"strict={str(strict).lower()}", "progress=false"]
        code = cli.main(["import", *words, *given])
        said = capsys.readouterr()
        assert code in (0, 2)
        assert "Traceback" not in said.out + said.err
        made = code == 0
    else:
        try:
            import_table(source, path, out=str(out), progress=False, strict=strict, **options)
            made = True
        except ErpError:
            made = False
    left = [name.name for name in out.parent.iterdir()] if out.parent.exists() else []
    assert left == (["table"] if made else [])
    if made:
        assert len(read_table(str(out)).samples)
    return made


def test_every_source_is_tried():
    assert sorted(WHOLE) == known("source")


@pytest.mark.parametrize("source", WHOLE)
def test_damaged_files_make_a_table_or_faults_and_nothing_half_written(tmp_path, capsys, source):
    made = [tried(source, seed, tmp_path, capsys) for seed in range(TRIES)]
    assert any(made)
    assert not all(made)


@pytest.mark.slow
@pytest.mark.parametrize("source", WHOLE)
def test_many_damaged_files(tmp_path, capsys, source):
    for seed in range(TRIES, 150):
        tried(source, seed, tmp_path, capsys)
