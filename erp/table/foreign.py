"""Files that are no reward table and that `erp import` makes one of: how they are known, for the error that says so."""

from __future__ import annotations

import fnmatch
import re
import shlex

from erp.table.shards import hidden, names_of, reading_from, unpacked

_HEAD = 1 << 16  # bytes that are looked at
_ROWS = ("*.json", "*.jsonl", "*.ndjson", "*.csv")
# source, what its files are called, and words that all stand in their first bytes
_KNOWN: list[tuple[str, tuple[str, ...], tuple[bytes, ...]]] = [
    ("inspect", ("*.eval",), ()),
    ("lighteval", ("details_*.parquet",), ()),
    ("helm", ("per_instance_stats.json", "scenario_state.json"), ()),
    ("lm_eval", ("samples_*.jsonl",), (b'"resps"',)),
    ("every_eval_ever", ("*_samples.jsonl",), (b'"evaluation_id"',)),
    ("promptfoo", ("*.json",), (b'"results"', b'"version"', b'"provider"')),
    ("promptfoo", ("*.jsonl",), (b'"promptIdx"', b'"provider"')),
    ("alpaca_eval", ("*annotations.json",), (b'"preference"',)),
    ("gateway", ("*.ndjson",), (b'"kind":"decision"', b'"propensity"')),
    ("litellm", _ROWS, (b"request_id", b"call_type", b"spend")),
    ("langfuse", _ROWS, (b"GENERATION", b"trace", b"level")),
]
_INSPECT_JSON = re.compile(rb'"eval"\s*:\s*\{[^{}]*"(run_id|eval_id|task)"')


def import_hint(path: str) -> str | None:
    """The command that reads a file, or the files of a folder; None where they are of no source that is known."""
    try:
        system, root, names, single = names_of(path)
        files = [name for name in names if single or not hidden(name, root)]
        found = next((source for name in files[:20] if (source := _source_of(system, name)) is not None), None)
    except Exception:  # it is an error already, and this would only explain it
        return None
    if found is None:
        return None
    return f"it looks like what source={found} reads: erp import source={found} {shlex.quote(f'path={path}')}"


def _source_of(system: object, name: str) -> str | None:
    last = name.rsplit("/", 1)[-1]
    bare = re.sub(r"\.(gz|bz2|xz|zst)$", "", last)
    named = [(source, words) for source, patterns, words in _KNOWN
             if any(fnmatch.fnmatchcase(bare, pattern) for pattern in patterns)]  # fmt: skip
    if sure := [source for source, words in named if not words]:
        return sure[0]
    with reading_from(system, name) as stream, unpacked(stream, name) as plain:
        head = plain.read(_HEAD)
    if bare.endswith(".json") and _INSPECT_JSON.search(head):
        return "inspect"
    return next((source for source, words in named if all(word in head for word in words)), None)
