"""Files of logs taken for a reward table: the error names the command that reads them, and that command does."""

from __future__ import annotations

import gzip
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from erp import cli
from tests.importers import test_every_eval_ever as eee
from tests.importers import test_helm as helm
from tests.importers import test_langfuse as langfuse
from tests.importers import test_lighteval as lighteval
from tests.importers import test_litellm as litellm
from tests.importers import test_promptfoo as promptfoo
from tests.importers.benchmarks import command_of


def _lines(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _csv(path: Path, *rows: dict) -> Path:
    cells = [{k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in row.items()} for row in rows]
    pd.DataFrame(cells).to_csv(path, index=False)
    return path


def _packed(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return packed


MADE: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "promptfoo": ("promptfoo", lambda at: promptfoo.write(at / "results.json", promptfoo.result())),
    "promptfoo lines": ("promptfoo", lambda at: _lines(at / "out.jsonl", promptfoo.result())),
    "every_eval_ever": ("every_eval_ever", lambda at: eee.write(at / "data", eee.sample())),
    "lighteval": ("lighteval", lambda at: lighteval.write(at / "a", lighteval.new())),
    "helm": ("helm", lambda at: helm.write(at, [helm.stats()], [helm.state()])),
    "litellm": ("litellm", lambda at: litellm.write(at / "logs.json", litellm.request())),
    "litellm lines": ("litellm", lambda at: _packed(litellm.write(at / "logs.jsonl", litellm.request()))),
    "litellm csv": ("litellm", lambda at: _csv(at / "logs.csv", litellm.request())),
    "langfuse": (
        "langfuse",
        lambda at: langfuse.write(at / "t.json", langfuse.trace(langfuse.generation(), scores=[langfuse.score()])),
    ),
    "langfuse rows": ("langfuse", lambda at: _lines(at / "o.jsonl", langfuse.generation(quality=[1.0]))),
    "langfuse csv": ("langfuse", lambda at: _csv(at / "o.csv", langfuse.generation(quality=[1.0]))),
}


@pytest.mark.parametrize("made", MADE)
def test_the_command_that_the_error_names_reads_the_file(tmp_path, made, capsys):
    source, make = MADE[made]
    path = make(tmp_path)
    words = command_of(path)
    assert words == ["erp", "import", f"source={source}", f"path={path}"]
    assert cli.main(["import", f"path={path}", f"out={tmp_path / 'table'}"]) == 2  # as if it were a spreadsheet
    assert capsys.readouterr().err.splitlines()[-1].endswith(shlex.join(words))
    assert cli.main([*words[1:], f"out={tmp_path / 'table'}"]) == 0
    assert (tmp_path / "table" / "manifest.json").is_file()
