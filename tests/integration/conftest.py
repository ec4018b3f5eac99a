"""Small tables on disk, a run on one of them, and a command line that runs in this process."""

import shutil
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


SMALL = ["backbone=hashing", "backbone.dimensions=256", "tracking=off", "bootstrap.draws=200"]


@pytest.fixture(scope="session")
def scores(tmp_path_factory) -> Path:
    """A long parquet file: 240 prompts, 3 members, 2 samples. Nobody writes here: `table` is a copy."""
    path = tmp_path_factory.mktemp("scores") / "scores.parquet"
    long_frame().to_parquet(path)
    return path


@pytest.fixture
def table(tmp_path, scores) -> Path:
    """A long parquet file: 240 prompts, 3 members, 2 samples."""
    return Path(shutil.copy(scores, tmp_path))


def arguments_of(table: Path) -> list[str]:
    return ["data=table", f"data.path={table}", *SMALL]


@pytest.fixture
def quick(table) -> list[str]:
    """Arguments of a fast run on that table."""
    return arguments_of(table)


@pytest.fixture(scope="session")
def finished(scores) -> Path:
    """The folder in which a run on that table was made. Nobody writes here: `run` is a copy."""
    home = scores.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("ERP_CACHE", str(home / "cache"))
        patch.delenv("ERP_WEIGHTS", raising=False)
        assert cli.main(["train", *arguments_of(scores), "figures=false", "trainer.progress=false"]) == 0
    return home


@pytest.fixture
def run(erp, table, finished) -> Path:
    """What `erp("train", *quick)` leaves: the run's folder, and what is cached."""
    for name in ("runs", "cache"):
        shutil.copytree(finished / name, name)
    (folder,) = Path("runs").iterdir()
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace(str(finished), str(table.parent)))
    return folder
