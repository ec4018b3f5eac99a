"""Benchmarks' files that went through somebody's hands: a table, or faults in lines; nothing half-written."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from erp import import_table
from erp.errors import ErpError
from erp.table.read import read_table
from tests.importers import (
    test_alpaca_eval,
    test_embedllm,
    test_llmrouter,
    test_llmrouterbench,
    test_mix_instruct,
    test_routellm,
    test_routerbench,
    test_routerdc,
    test_sprout,
    test_ultrafeedback,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_UF, _MIX, _LRB = test_ultrafeedback, test_mix_instruct, test_llmrouterbench
WHOLE: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
    "alpaca_eval": (lambda p: test_alpaca_eval.write(p, *(test_alpaca_eval.annotation(t) for t in "abc")), {}),
    "embedllm": (lambda p: test_embedllm.write(p, train=[test_embedllm.answer(n) for n in range(4)]), {}),
    "llmrouter": (lambda p: test_llmrouter.write(p, train=[test_llmrouter.response(q) for q in "abc"]), {}),
    "llmrouterbench": (lambda p: _LRB.write(p, "aime", "m", *(_LRB.record(n) for n in range(3))), {}),
    "mix_instruct": (
        lambda p: _MIX.write(p, test=[_MIX.item(f"a/{n}", *_MIX.TWO) for n in range(3)]),
        {"score": "bertscore"},
    ),
    "routellm": (lambda p: test_routellm.write(p, gsm8k=[{"prompt": q, "m": True, "n": False} for q in "abc"]), {}),
    "routerbench": (lambda p: test_routerbench.write(p, "pickle 4"), {}),
    "routerdc": (lambda p: test_routerdc.write(p, mbpp_test=[test_routerdc.item(q, m=0.5, n=1.0) for q in "abc"]), {}),
    "sprout": (
        lambda p: test_sprout.write(p, test=[test_sprout.prompt(n, str(n), m=test_sprout.told(0.5)) for n in range(3)]),
        {},
    ),
    "ultrafeedback": (lambda p: _UF.write(p, sharegpt=_UF.ROWS), {"score": "fine-grained_score"}),
}
ODD = (None, "", "x", -1, 1e400, True, [], {}, [[{}]], "N/A", "\ud800", 10**30)


def cut(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: rng.integers(len(data))]


def flipped(rng: np.random.Generator, data: bytes) -> bytes:
    some = bytearray(data)
    for at in rng.integers(0, len(some), 1 + rng.integers(4)):
        some[at] = rng.integers(256)
    return bytes(some)


def changed(rng: np.random.Generator, value: Any) -> Any:
    """A document of JSON with one value that is another, one key fewer, or all keys in another order."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        keys = list(rng.permutation(list(value)))
        which = keys[0]
        if rng.random() < 0.25:
            return {key: value[key] for key in keys[1:]}
        return {key: changed(rng, value[key]) if key == which else value[key] for key in keys}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.integers(len(value))
        return [changed(rng, item) if i == at else item for i, item in enumerate(value)]
    return ODD[rng.integers(len(ODD))]


def edited(rng: np.random.Generator, path: Path) -> bytes:
    """The file with something in it that does not belong there."""
    if path.suffix == ".csv":
        rows = [row for row in changed(rng, pd.read_csv(path).to_dict("records")) if isinstance(row, dict)]
        return pd.DataFrame(rows).to_csv(index=False).encode("utf-8", "replace")
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
        return frame.drop(columns=rng.choice(list(frame))).to_parquet()
    if path.suffix == ".pkl":
        rows = [row for row in changed(rng, test_routerbench.ROWS) if isinstance(row, dict)]
        frame = test_routerbench.frame(rows)
        return pickle.dumps(frame, protocol=int(rng.integers(6)))
    text = path.read_text()
    if path.suffix == ".jsonl":
        return "\n".join(json.dumps(changed(rng, json.loads(line))) for line in text.splitlines()).encode()
    return json.dumps(changed(rng, json.loads(text))).encode()


@pytest.mark.parametrize("source", WHOLE)
def test_damaged_files_make_a_table_or_faults_and_nothing_half_written(tmp_path, source):
    write, options = WHOLE[source]
    made = refused = 0
    for seed in range(40):
        rng = np.random.default_rng([seed, *map(ord, source)])
        path = tmp_path / str(seed)
        write(path)
        files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name != "model_outputs.json"]
        file = files[rng.integers(len(files))]
        how = ("cut", "flipped", "edited", "edited")[seed % 4]
        try:
            file.write_bytes(edited(rng, file) if how == "edited" else globals()[how](rng, file.read_bytes()))
        except (TypeError, ValueError, AttributeError):  # not what that format can hold
            continue
        out = tmp_path / "tables" / str(seed)
        strict = bool(rng.integers(2))
        try:
            import_table(source, path, out=str(out), progress=False, strict=strict, **options)
        except ErpError:
            refused += 1
            assert not out.parent.exists() or not list(out.parent.glob(f"*{seed}*"))
        else:
            made += 1
            assert len(read_table(str(out)).samples)
    assert made
    assert refused
