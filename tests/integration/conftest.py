"""Small tables on disk and a command line that runs in this process."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from erp import cli
from tests.integration.tables import long_frame


@dataclass
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.out.strip().splitlines()[-1]

    @property
    def faults(self) -> list[str]:
        return self.err.strip().splitlines()


@pytest.fixture
def erp(tmp_path, monkeypatch, capsys):
    """`erp(*arguments)` in an empty folder, with its own cache and nothing drawn on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ERP_WEIGHTS", raising=False)

    def run(*arguments: str) -> Answer:
        """Figures take most of a small run's time: a test that looks at them asks for them."""
        if arguments[0] == "train":
            arguments = (*arguments, "trainer.progress=false")
        if arguments[0] in ("train", "evaluate", "extend") and not any("figures=" in word for word in arguments):
            arguments = (*arguments, "figures=false")
        code = cli.main(list(arguments))
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return run


@pytest.fixture
def table(tmp_path) -> Path:
    """A long parquet file: 240 prompts, 3 members, 2 samples."""
    path = tmp_path / "scores.parquet"
    long_frame().to_parquet(path)
    return path


@pytest.fixture
def quick(table) -> list[str]:
    """Arguments of a fast run on that table."""
    small = ["backbone=hashing", "backbone.dimensions=256"]
    return ["data=table", f"data.path={table}", *small, "tracking=off", "bootstrap.draws=200"]
