"""Logs of harnesses with something amiss: each ends in a table or in named faults, none in a traceback."""

from __future__ import annotations

import json
import math
import random

import pytest

from erp import import_table
from erp.errors import ErpError
from tests.importers import inspect_logs, lm_eval_logs

ODD = [None, 3, -1, 0.5, math.nan, math.inf, 10**400, "", " ", "x", "\x00", "\ud800", "attachment://x", True, [], [[]],
       [None], {}, {"": None}, {"a": {}}]  # fmt: skip


def spoiled(draw: random.Random, value, depth=0):
    """The same with one thing gone, elsewhere or otherwise."""
    deeper = depth < 1 or draw.random() < 0.75
    if isinstance(value, dict) and value and deeper:
        key, how = draw.choice(list(value)), draw.random()
        if how < 0.2:
            return {name: held for name, held in value.items() if name != key}
        if how < 0.3:
            return dict(draw.sample(list(value.items()), len(value)))
        return {**value, key: spoiled(draw, value[key], depth + 1)}
    if isinstance(value, list) and value and deeper:
        at = draw.randrange(len(value))
        return [*value[:at], spoiled(draw, value[at], depth + 1), *value[at + 1 :]]
    return draw.choice(ODD)


def some_spoiled(draw, values, share):
    return [spoiled(draw, value) if draw.random() < share else value for value in values]


def lm_eval(draw, folder):
    lines = some_spoiled(draw, lm_eval_logs.plain([1.0, 0.0, 1.0]), draw.choice([0, 0.7]))
    template = draw.choice([None, lm_eval_logs.CHAT])
    facts = lm_eval_logs.results("m", shots=draw.choice([0, 2]), chat_template=template)
    lm_eval_logs.write(folder, "m", lines, facts=some_spoiled(draw, [facts], 0.4)[0])


def inspect(draw, folder):
    chat = {"input": [{"role": "user", "content": "attachment://a1"}], "attachments": {"a1": "Hello"}}
    samples = [inspect_logs.sample(n, value="CI"[n % 2], **(chat if n == 2 else {})) for n in range(3)]
    facts, layout = inspect_logs.header(), draw.choice([inspect_logs.monolith, inspect_logs.chunked, None])
    folder.mkdir()
    if layout is None:
        log = {**facts, "samples": samples}
        (folder / "a.json").write_text(json.dumps(some_spoiled(draw, [log], 0.8)[0]))
        return
    members = layout(facts, samples)
    spoilt = dict(zip(members, some_spoiled(draw, members.values(), draw.choice([0, 0.4])), strict=True))
    (folder / "a.eval").write_bytes(inspect_logs.packed(spoilt, zstd=draw.random() < 0.7))


def bend(draw, folder):
    """Flip bits of some of the files, and cut some."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        raw = bytearray(file.read_bytes())
        if draw.random() < 0.2:
            for _ in range(draw.randrange(1, 6)):
                raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        if draw.random() < 0.1:
            raw = raw[: draw.randrange(len(raw))]
        file.write_bytes(raw)


@pytest.mark.parametrize("source", [lm_eval, inspect], ids=["lm_eval", "inspect"])
def test_damaged_logs_end_in_a_table_or_in_named_faults(tmp_path, source):
    ends = []
    for trial in range(100):
        draw, folder, out = random.Random(trial), tmp_path / f"{trial}", tmp_path / "tables" / f"{trial}"
        source(draw, folder)
        bend(draw, folder)
        try:
            import_table(source.__name__, folder, out=str(out), strict=draw.random() < 0.5)
            ends.append(True)
        except ErpError:
            assert not out.exists()
            ends.append(False)
    assert 10 < sum(ends) < 90
    assert not [path for path in (tmp_path / "tables").iterdir() if path.name.startswith(".")]
