"""What the documentation shows works as it stands there."""

import json
import re
import shlex
from pathlib import Path

import pandas as pd

from erp import cli
from tests.collect.commands import command, samples

DOCS = Path(__file__).resolve().parents[1] / "docs"


def block(page: str, kind: str, holding: str) -> str:
    """The code block of a page that holds a text."""
    text = (DOCS / page).read_text(encoding="utf-8")
    (found,) = [code for code in re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) if holding in code]
    return found


def test_a_reward_model_of_ones_own(tmp_path, monkeypatch, capsys):
    arguments = [a for a in command(tmp_path) if a != "reward_model=letters"]
    (tmp_path / "mine.py").write_text(block("collect.md", "python", "class Brevity"))
    (tmp_path / "conf/reward_model/brevity.yaml").write_text(block("collect.md", "yaml", "name: brevity"))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert cli.main([*arguments, "reward_model=brevity"]) == 0, capsys.readouterr().err
    rows = samples(tmp_path, "brevity")
    expected = 100 / (100 + rows["response"].str.len())
    pd.testing.assert_series_equal(rows["reward"], expected, check_names=False)


def test_a_gateway_of_ones_own(tmp_path, monkeypatch, capsys):
    rows = [{"question": f"What is {i} + {i}?", "uid": f"q{i}", "answer": 2 * i} for i in range(3)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    (line,) = [
        text for text in block("collect.md", "sh", "GATEWAY_KEY").replace("\\\n", " ").splitlines() if "erp" in text
    ]
    program, *arguments = shlex.split(line)
    assert program == "erp"
    assert cli.main(arguments) == 0, capsys.readouterr().err
    assert "3 prompts x 2 members x 8 samples = 48 responses" in capsys.readouterr().out
