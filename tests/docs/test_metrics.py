"""docs/metrics.md describes every number of results.json, and none that is not there."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from erp import cli
from erp.formats.results import RESULTS
from erp.results import Results
from tests.docs.pages import ROOT
from tests.integration.tables import long_frame

PAGE = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| row `(\w+)` \|", PAGE, re.MULTILINE)
POINTS = ["lambda_0", "policy", "most_reward", "same_reward"]
QUICK = ["tracking=off", "bootstrap.draws=200", "trainer.progress=false", "figures=false"]
SYNTHETIC = ["data=synthetic", "data.prompts=200", "data.samples=2", "backbone=hashing"]


def keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys of all leaves; entries of a list of mappings stand under ``[]``."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from keys(value, f"{prefix}.{name}" if prefix else name)
    elif isinstance(node, list) and node and isinstance(node[0], dict):
        for entry in node:
            yield from keys(entry, f"{prefix}[]")
    else:
        yield prefix


def documented() -> list[str]:
    """The keys of the page's tables, ``{a,b}`` written out; names like <member> stay."""
    found = []
    for text in re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE):
        parts = re.split(r"\{([^}]+)\}", text)
        found += ["".join(p) for p in itertools.product(*(p.split(",") if i % 2 else [p] for i, p in enumerate(parts)))]
    return found


def rule(text: str) -> re.Pattern[str]:
    """Which keys a documented one stands for. Names of members, categories and packages may hold dots."""
    names = {"row": "|".join(ROWS), "point": "|".join(POINTS), "setting": r"\w+"}
    parts = re.split(r"<(\w+)>", text)
    return re.compile("".join(f"(?:{names.get(p, '.+')})" if i % 2 else re.escape(p) for i, p in enumerate(parts)))


RULES = {text: rule(text) for text in ["format", *documented()]}
# What holds a described key: null where the whole section is.
SECTIONS = [rule(text[:end]) for text in RULES for end in (m.start() for m in re.finditer(r"\.|\[\]", text))]


def unknown(results: dict[str, Any]) -> set[str]:
    """Keys that no rule describes. A section that is null, or a list without entries, stands for all it would hold."""
    described = {key for key in keys(results) if any(r.fullmatch(key) for r in RULES.values())}
    return {key for key in keys(results) if key not in described and not _is_null_section(results, key)}


def _is_null_section(results: dict[str, Any], key: str) -> bool:
    return key in null_keys(results) and any(r.fullmatch(key) for r in SECTIONS)


def null_keys(node: Any, prefix: str = "") -> set[str]:
    """Keys of what is null or empty."""
    if isinstance(node, dict) and node:
        return set().union(*(null_keys(v, f"{prefix}.{k}" if prefix else k) for k, v in node.items()))
    return {prefix} if node in (None, [], {}) else set()


def test_the_tables_are_those_of_the_tree():
    assert _reference().page(PAGE) == PAGE, "run `python docs/results_reference.py`"
    documented = {key.split(".")[0] for text in RULES for key in [text]}
    assert documented == {*Results.model_fields, "format"}


def test_the_schema_takes_what_was_written_and_refuses_what_was_not():
    schema = _reference().schema()
    judge = jsonschema.validators.validator_for(schema)(schema)
    for file in sorted((ROOT / "tests/formats/first/runs").glob("*/results.json")):
        written = RESULTS.numbered(RESULTS.read(json.loads(file.read_text()), str(file)))
        assert not list(judge.iter_errors(written)), file
        assert list(judge.iter_errors({**written, "level": "0.95"}))
        assert list(judge.iter_errors({**written, "luck": 1.0}))
        assert list(judge.iter_errors({key: value for key, value in written.items() if key != "run"}))


def _reference():
    spec = importlib.util.spec_from_file_location("results_reference", ROOT / "docs/results_reference.py")
    module = sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


def test_the_page_is_read():
    assert len(RULES) > 150
    assert len(ROWS) == 9
    assert not rule("routing.<row>.reward").fullmatch("routing.nobody.reward")
    assert rule("routing.members.<member>.cost").fullmatch("routing.members.qwen-1.5b-direct.cost")
    assert unknown({"routing": {"router": {"reward": 1.0, "luck": 2.0}, "cascade": None, "luck": None}}) == {
        "routing.router.luck", "routing.luck",
    }  # fmt: skip


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERP_CACHE", str(tmp_path / "cache"))

    def run(program: str, *arguments: str) -> tuple[str, dict[str, Any]]:
        assert cli.main([program, *arguments]) == 0, capsys.readouterr().err
        folder = re.findall(r"^report: (.*)/report.html$", capsys.readouterr().out, re.MULTILINE)[-1]
        return folder, json.loads((Path(folder) / "results.json").read_text())

    return run


def test_every_key_of_a_run_is_described(train):
    _, results = train("train", *SYNTHETIC, *QUICK)
    assert not unknown(results)


@pytest.mark.slow
def test_every_key_that_is_described_is_in_some_run(train, tmp_path):
    mini, first = train("train", *QUICK)
    runs = [first]
    runs.append(train("train", "policy=budget", *QUICK)[1])
    runs.append(train("train", "policy=guarantee", "policy.alpha=0.4", *QUICK)[1])
    runs.append(train("train", *SYNTHETIC, *QUICK)[1])
    runs.append(train("evaluate", f"run={mini}", "data=mini", "reward_model.name=yes_logit")[1])
    runs.append(train("evaluate", f"run={mini}", "backbone=minilm")[1])
    frame = long_frame(prompts=300, members=4)
    frame.to_parquet(tmp_path / "more.parquet")
    frame[frame["model"] != frame["model"].iloc[0]].to_parquet(tmp_path / "scores.parquet")
    table = ["data=table", "data.path=scores.parquet", "backbone=hashing"]
    run, _ = train("train", *table, *QUICK)
    frame[(frame["model"] != frame["model"].iloc[0]) | (frame.index % 16 < 8)].to_parquet(tmp_path / "holes.parquet")
    runs.append(train("train", *table, "data.path=holes.parquet", *QUICK)[1])
    for method in ("scratch", "uniroute"):
        runs.append(train("extend", f"run={run}", "data=table", "data.path=more.parquet", f"method={method}")[1])
    found = {key for results in runs for key in keys(results)}
    assert not set().union(*map(unknown, runs))
    gone = [text for text, r in RULES.items() if not any(map(r.fullmatch, found))]
    assert not gone, "docs/metrics.md describes what no run has"
