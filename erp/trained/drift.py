"""Another encoder in place of a run's own, and what was measured of it: kept beside the run, for who serves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from erp.backbones.base import Backbone, build_backbone, trains
from erp.backbones.cache import embed_prompts
from erp.backbones.joined import learns
from erp.config import Plug
from erp.errors import ErpError, one_line
from erp.files import read_json, sha256_file, write_json
from erp.formats import drift as form
from erp.results import Results
from erp.results.drift import Drift
from erp.runs import RunFolder
from erp.trained.exported import CONFIG, TENSORS
from erp.trained.hub import DRIFT
from erp.trained.router import TrainedRouter


class Measured(BaseModel):
    """What ``erp evaluate backbone=`` found, and of what.

    Attributes:
        checkpoint: SHA-256 of the router's files.
        encoder: fingerprint of the other backbone.
        table: the table, as reports call it.
        cost_unit: of costs.
        level: of the intervals.
        drift: what changes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: str
    encoder: str
    table: str
    cost_unit: str
    level: float
    drift: Drift

    @classmethod
    def of(cls, run: RunFolder, encoder: Backbone, results: Results) -> Self:
        """Of a run's router, evaluated with another encoder."""
        assert results.drift is not None
        return cls(
            checkpoint=_fingerprint(run),
            encoder=encoder.fingerprint(),
            table=results.run.evaluated_on or results.run.table,
            cost_unit=results.cost.unit,
            level=results.level,
            drift=results.drift,
        )


def other_encoder(node: Plug, trained: TrainedRouter, weights_dir: str | None) -> Backbone:
    """A backbone that a router can be asked with in place of its own.

    Raises:
        ErpError: it cannot be built, would have to learn first, or its vectors are of another length.
    """
    backbone, name = build_backbone(node, weights_dir), called(node)
    if trains(backbone) or learns(backbone):
        raise ErpError(
            f"backbone = {name}: learns from train prompts, and a trained router is asked with an encoder as it was "
            "released; give another one, or train a router with this one"
        )
    found, read = embed_prompts(["hello"], backbone).shape[1], trained.card.dimension
    if found != read:
        raise ErpError(
            f"backbone = {name}: gives vectors of {found} numbers, and this router reads {read}; give an encoder "
            "that stands in for the run's own"
        )
    return backbone


def called(node: Plug) -> str:
    """What a backbone is called."""
    return one_line(node.get("name", "backbone"))


def keep(target: Path, measured: Measured) -> None:
    """Write what was measured into the folder of its report."""
    _write(target / DRIFT, [measured])


def carry(run: RunFolder, out: RunFolder) -> None:
    """Let what was measured of a run go with its export, which holds the same router in other files."""
    own = _fingerprint(run)
    found = [one for one in _kept(run) if one.checkpoint == own]
    if found:
        _write(out.path / DRIFT, [one.model_copy(update={"checkpoint": _fingerprint(out)}) for one in found])
    else:
        (out.path / DRIFT).unlink(missing_ok=True)  # of an earlier export


def measured_in(run: RunFolder, encoder: Backbone) -> Measured | None:
    """What was measured of this very router with this encoder, on the most prompts; None where nothing was.

    Raises:
        ErpError: what is kept cannot be read.
    """
    own, other = _fingerprint(run), encoder.fingerprint()
    found = [one for one in _kept(run) if (one.checkpoint, one.encoder) == (own, other)]
    return max(found, key=lambda one: one.drift.prompts, default=None)


def _fingerprint(run: RunFolder) -> str:
    """Of the files that hold the router: what it learnt, and how it decides."""
    exported = run.path / TENSORS
    files = [exported, run.path / CONFIG] if exported.exists() else [run.checkpoint]
    return " ".join(map(sha256_file, files))


def _write(file: Path, measured: list[Measured]) -> None:
    write_json(file, form.DRIFT.numbered({"measured": [one.model_dump(by_alias=True) for one in measured]}))


def _kept(run: RunFolder) -> Iterator[Measured]:
    for file in sorted([*run.path.glob(DRIFT), *run.path.glob(f"evaluations/*/{DRIFT}")]):
        try:
            content = form.DRIFT.read(read_json(file), f"run = {run.path}: {file.name}")
            yield from [Measured.model_validate(one) for one in content["measured"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ErpError(
                f"run = {run.path}: {file.relative_to(run.path)} cannot be read ({one_line(error)[:120]}); restore it, "
                "or delete it and measure again"
            ) from None
