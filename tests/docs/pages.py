"""The code blocks of the documentation, and how their commands are run as a reader would run them."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from erp import cli
from tests.importers import inspect_logs, lm_eval_logs
from tests.integration.tables import long_frame

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- not run:?(?P<why>.*?)-->\n)?^```(?P<kind>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A code block: ``why`` is the reason it is not run, None where it is."""

    page: Path
    line: int
    kind: str
    code: str
    why: str | None

    @property
    def path(self) -> str | None:
        """The file that the block is, if its first line says so."""
        found = re.match(r"(?:# @package \S+\n)?# ([\w/.-]+\.(?:py|yaml|yml))(?::.*)?\n", self.code)
        return found[1] if found else None

    @property
    def commands(self) -> list[str]:
        lines = re.sub(r"\\\n\s*", "", self.code).splitlines()
        return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, m.start()) + 1, m["kind"], m["code"], m["why"] and m["why"].strip())
        for m in FENCE.finditer(text)
    ]  # fmt: skip


@dataclass(frozen=True)
class Command:
    """One line of a shell block."""

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    stdin: str = ""


def parsed(line: str, **names: str) -> Command:
    """``echo text | NAME=value erp ...``, with <run> and the like replaced by real names, or by themselves."""
    line = re.sub(r"<(\w+)>", lambda m: names.get(m[1], m[1]), line)
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|")
    lexer.whitespace_split = True
    tokens = list(lexer)
    stdin = ""
    if tokens[0] == "echo" and "|" in tokens:
        at = tokens.index("|")
        stdin, tokens = " ".join(tokens[1:at]) + "\n", tokens[at + 1 :]
    environment = {}
    while re.match(r"[A-Z_]+=", tokens[0]):
        name, _, environment[name] = tokens.pop(0).partition("=")
    return Command(tokens, environment, stdin)


def write_files(page: Path, folder: Path) -> None:
    """The files that a page shows, where it says they lie."""
    for block in blocks(page):
        if block.path is not None:
            file = folder / block.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.code, encoding="utf-8")


def write_tables(folder: Path) -> None:
    """What the pages speak of: a table, one with a member more, and prompts."""
    frame = long_frame(prompts=300, samples=3)
    frame.to_parquet(folder / "scores.parquet")
    new = frame[frame["model"] == frame["model"].iloc[0]].assign(model="newcomer")
    new["reward"] += np.random.default_rng(0).normal(0.2, 1, len(new))
    pd.concat([frame, new]).to_parquet(folder / "more.parquet")
    frame.pivot_table(index="prompt", columns="model", values="reward").to_csv(folder / "wide.csv")
    (folder / "verdicts").mkdir()
    for member in ("small", "large"):
        lines = [{"asked": f"Q{i}", "passed": "timeout" if i == 3 else i % 2 == len(member) % 2} for i in range(4)]
        (folder / "verdicts" / f"{member}.verdicts").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [
        {"prompt": f"What is {i} + {i}?", "reference": {"answer": str(2 * i)}}  # and under the gateway's names
        | {"question": f"What is {i} + {i}?", "uid": f"q{i}", "answer": 2 * i}
        for i in range(3)
    ]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_logs(folder: Path) -> None:
    """What evaluation harnesses left: of each, three members on 60 documents, of two kinds with Inspect."""
    draw = np.random.default_rng(1)
    for at, member in enumerate(("org/small", "org/middle", "org/large")):
        right = draw.random((60, 2)) < 0.3 + 0.2 * at
        docs = [{"question": f"What is {i} times {i % 7}?", "answer": str(i * (i % 7))} for i in range(60)]
        filters = ("strict-match", "flexible-extract")
        lines = [lm_eval_logs.sample(i, doc, lm_eval_logs.asked(doc), name, exact_match=float(right[i, k]))
                 for k, name in enumerate(filters) for i, doc in enumerate(docs)]  # fmt: skip
        figures = {f"exact_match,{name}": 0.5 for name in filters}
        facts = lm_eval_logs.results(member, "times", {"exact_match": True}, figures=figures)
        lm_eval_logs.write(folder / "lm-eval-logs", member, lines, "times", facts=facts)
        for task in ("words", "sums"):
            samples = [inspect_logs.sample(i, epoch, "C" if draw.random() < 0.3 + 0.2 * at else "I")
                       for i in range(30) for epoch in (1, 2)]  # fmt: skip
            samples = [{**one, "input": f"{task}: {one['input']}"} for one in samples]
            name = f"{task}_{at}.eval"
            inspect_logs.write(folder / "inspect-logs", samples, inspect_logs.header(member, task), name)


class Reader:
    """Somebody who reads a page in an empty folder and does what it says."""

    def __init__(self, page: Path, folder: Path, monkeypatch, capsys) -> None:
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        self.names: dict[str, str] = {}
        self.said = ""
        monkeypatch.chdir(folder)
        monkeypatch.setenv("ERP_CACHE", str(folder / "cache"))
        monkeypatch.delenv("ERP_WEIGHTS", raising=False)
        write_tables(folder)
        if page.name == "import.md":
            write_logs(folder)
        write_files(page, folder)

    def shell(self, block: Block) -> None:
        for line in block.commands:
            command = parsed(line, **self.names)
            if command.arguments[0] == "export":
                self.monkeypatch.setenv(*command.arguments[1].split("=", 1))
                continue
            assert command.arguments[0] == "erp", f"{block}: {line}: no test can run this; say why above the block"
            for name, value in command.environment.items():
                assert (name, value) == ("PYTHONPATH", "."), f"{block}: {line}"
                self.monkeypatch.syspath_prepend(str(self.folder))
            self.monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(command.stdin.encode())))
            code = cli.main(command.arguments[1:])
            heard = self.capsys.readouterr()
            assert code == 0, f"{block}: {line}\n{heard.err}"
            self.said += heard.out
            self.remember(command.arguments[1:], heard.out)

    def remember(self, arguments: list[str], out: str) -> None:
        """What <run> and <sweep> stand for from now on: the run of the last single `erp train`."""
        if arguments[0] == "train" and "-m" not in arguments and "router=auto" not in arguments:
            self.names["run"] = Path(out.strip().splitlines()[-1]).name
        if found := re.search(r"sweeps/(\S+)\.json", out):
            self.names["sweep"] = found[1]

    def python(self, block: Block) -> None:
        if "run" not in self.names and (runs := sorted(Path("runs").glob("*/results.json"))):
            self.names["run"] = runs[-1].parent.name  # of an `erp.train` above
        code = re.sub(r"<(\w+)>", lambda m: self.names.get(m[1], m[1]), block.code)
        exec(compile(code, str(block), "exec"), {"__name__": "__main__"})
        self.said += self.capsys.readouterr().out

    def reads(self, block: Block) -> None:
        """Every line of a block of output was said, but for blanks and lines of dots."""
        said = re.sub(r"[ \t]+", " ", self.said)
        for line in block.code.splitlines():
            assert line.strip() == "..." or re.sub(r"\s+", " ", line).strip() in said, f"{block}: nobody said: {line}"


def forget_modules(folder: Path) -> Iterator[None]:
    """Modules that were imported from a folder are gone after a test: the next one has others of these names."""
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder) + os.sep):
            del sys.modules[name]
