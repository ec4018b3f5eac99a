"""What commands say of run folders, as plain values: asked when the folders were made, and asked again by the tests."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erp import cli

PROMPTS = (
    "amber basil cedar dune",
    "ember fjord grove haze amber",
    "haze",
    "words that nobody has seen",
    "cedar cedar",
)
EXTENSION = ("labels=20", "method=shrunk")
ASKED = {
    "runs": ["output=json", "table=runs"],
    "contenders": ["output=json", "table=contenders"],
    "pairs": ["output=json", "table=pairs"],
    "members": ["output=json", "table=members"],
}
DRAWS, PLAIN = "bootstrap.draws=100", "figures=false"  # no number hangs on figures, which take most of the time


def said(*arguments: str) -> str:
    """What a command prints; it has to end well."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as err:
        code = cli.main(list(arguments))
    assert code == 0, err.getvalue()
    return out.getvalue()


def results(folder: str | Path) -> dict[str, Any]:
    """A report's numbers, without how long they took."""
    found: dict[str, Any] = json.loads((Path(folder) / "results.json").read_text())
    for name in ("seconds", "fit_seconds"):
        found["run"].pop(name, None)
    return found


def routed(run: Path, home: Path) -> list[dict[str, Any]]:
    """Choice, scores and costs of prompts that the run has not seen."""
    rows = [{"prompt": text, "category": text.split()[0]} for text in PROMPTS]
    (home / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    text = said("route", f"run={run}", f"input={home / 'asked.jsonl'}", "output=json", f"weights_dir={home}")
    return [json.loads(line) for line in text.splitlines()]


def evaluated(run: Path, home: Path) -> dict[str, Any]:
    """Results of the run's router on the run's own table, computed anew."""
    last = said("evaluate", f"run={run}", f"cache_dir={home / 'cache'}", f"weights_dir={home}", PLAIN).splitlines()[-1]
    return results(last)


def compared(home: Path) -> dict[str, Any]:
    """Every table that `erp compare` makes of the runs that a sweep's record and the folder name."""
    out = f"out={home / 'runs'}"
    found = {name: json.loads(said("compare", out, DRAWS, PLAIN, *asked)) for name, asked in ASKED.items()}
    sweep = said("compare", str(home / "runs/sweeps/first.json"), out, DRAWS, PLAIN, *ASKED["contenders"])
    return {**found, "sweep": json.loads(sweep)}


def extended(run: Path, home: Path) -> dict[str, Any]:
    """Results with the table's fourth member."""
    arguments = [f"run={run}", *EXTENSION, f"out={home / 'extended'}", f"cache_dir={home / 'cache'}", PLAIN]
    return results(said("extend", *arguments).splitlines()[-1])


def runs(home: Path) -> dict[str, Path]:
    """Run folders by what they are: the name before the hash."""
    return {path.name.rpartition("-")[0]: path for path in (home / "runs").iterdir() if (path / "config.yaml").exists()}


def everything(home: Path) -> Mapping[str, Any]:
    """All of it; the comparison first, while nothing else lies beside the runs."""
    found = runs(home)
    return {
        "compare": compared(home),
        "route": {name: routed(run, home) for name, run in found.items()},
        "evaluate": {name: evaluated(run, home) for name, run in found.items()},
        "extend": extended(found["ridge-hashing"], home),
    }
