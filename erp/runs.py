"""Run identity and the run folder: what makes two commands the same run, and whether it is finished."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import Timeout

from erp.config import TrainConfig, validate
from erp.config.resolved import read_resolved
from erp.errors import ErpError, one_line, shorten
from erp.files import locked, plain, read_json, read_yaml, replacing, write_json, write_text
from erp.formats.results import RESULTS
from erp.formats.run import RUN
from erp.results import require_sound

if TYPE_CHECKING:
    import pandas as pd

# What changes where or how a run is carried out, but not what it computes. The table stands for `data`.
NOT_IDENTITY = (
    "data",
    "out",
    "cache_dir",
    "weights_dir",
    "sweep",
    "trust",
    "figures",
    "tracking",
    "cost.prices",
    "pool.complete",  # the members that follow from it stand for it
    "split.from",  # the parts that follow from it stand for it
    "trainer.accelerator",
    "trainer.progress",
    "votes",  # what is learnt from them stands for it
)
# Keys that came later: null or empty, they name no run, so that one that was made before is found again.
SINCE = (
    "cost.scoring",
    "router.gammas",
    "pool.members.engine",
    "trainer.average",
    "router.beside",
    "router.base.beside",
    "router.candidates.*.beside",
    "backbone.layers",
    "backbone.parts.layers",
)

LONGEST_LABEL = 60
"""Letters of a router's or backbone's label in a folder's name: of four bytes each, two of them leave a system room."""


def run_hash(config: Mapping[str, Any], *contents: str) -> str:
    """Ten hex digits that name a run: the resolved config without paths, devices, tracking, and contents' hashes."""
    kept = deepcopy(dict(config))
    for cost in _nodes(kept, ["cost"]):  # before there was a choice, costs that were predicted were predicted linearly
        if not cost.get("predict") or cost.get("head") == "linear":
            cost.pop("head", None)
    for dotted in (*NOT_IDENTITY, *SINCE):
        *parents, last = dotted.split(".")
        for node in _nodes(kept, parents):
            if dotted in NOT_IDENTITY or node.get(last) in (None, {}, []):
                node.pop(last, None)
    text = json.dumps([plain(kept), *contents], sort_keys=True, allow_nan=True)  # lambda = inf is not lambda = null
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _nodes(node: Any, parents: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The mappings under these keys, of a list those of each entry; ``*`` is every key."""
    if isinstance(node, list):
        for entry in node:
            yield from _nodes(entry, parents)
    elif isinstance(node, dict):
        if parents and parents[0] == "*":
            yield from _nodes(list(node.values()), parents[1:])
        elif parents:
            yield from _nodes(node.get(parents[0]), parents[1:])
        else:
            yield node


def run_name(router: Mapping[str, Any], backbone: Mapping[str, Any], identity: str) -> str:
    """The name of a run's folder, in one piece under ``out`` whatever the labels are: they may be somebody else's."""
    labels = [one_line(node.get("name", part)) for node, part in ((router, "router"), (backbone, "backbone"))]
    return "-".join([*(re.sub(r"[/\\]", "_", label)[:LONGEST_LABEL] for label in labels), identity])


class RunFolder:
    """One run on disk: ``config.yaml``, ``status.json``, ``checkpoint.ckpt``, ``results.json`` and the rest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.status = path / "status.json"
        self.results = path / "results.json"
        self.checkpoint = path / "checkpoint.ckpt"
        self.split = path / "split.parquet"
        self.origin = path / "origin.json"
        self.predictions = path / "predictions.parquet"
        self.figures = path / "figures"

    @property
    def finished(self) -> bool:
        """Whether the run ended well, and its status and results can still be read: if not, it is made again."""
        try:
            status, _ = read_json(self.status), read_json(self.results)
        except (OSError, ValueError):
            return False
        return status.get("status") == "ok"

    def load_config(self) -> dict[str, Any]:
        """The resolved config the run was made from. Raises ErpError where there is none, or not a resolved one."""
        if not self.config.exists():
            raise ErpError(f"run = {self.path}: no config.yaml there; give a run folder that `erp train` printed")
        try:
            value = read_yaml(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ErpError(
                f"run = {self.path}: config.yaml cannot be read ({reason}); restore it or train again"
            ) from None
        if not isinstance(value, dict):
            raise ErpError(f"run = {self.path}: config.yaml is no mapping; restore it or train again")
        return read_resolved(value, f"run = {self.path}: config.yaml")

    def load_settings(self) -> TrainConfig:
        """The same as a config object. Raises ErpError, one line, where there is none, or it is no run's."""
        config = self.load_config()
        try:
            settings: TrainConfig = validate("train", config)
        except ErpError as error:
            raise ErpError(
                f"run = {self.path}: config.yaml is no run's ({shorten(error.faults, 3)}); restore it or train again"
            ) from None
        return settings

    def load_results(self) -> dict[str, Any]:
        """The content of ``results.json`` as it would be written today.

        Raises:
            ErpError: it cannot be read, or is not what a later command needs.
        """
        try:
            results = RESULTS.read(read_json(self.results), f"run = {self.path}: results.json")
            require_sound(results)
        except (OSError, ValueError) as error:
            reason = one_line(error)[:200]
            raise ErpError(
                f"run = {self.path}: results.json cannot be read ({reason}); restore it, or delete the folder and "
                f"train again"
            ) from None
        return results

    @contextmanager
    def retold(self) -> Iterator[None]:
        """Within, a report is made anew of what the folder holds; of files that were edited, that ends as an error.

        ``load_results`` judges what other commands read. A report reads hundreds of numbers more.

        Raises:
            ErpError: a number is not there, or is not what it was.
        """
        import pyarrow

        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, pyarrow.ArrowException) as error:
            raise ErpError(
                f"run = {self.path}: no report can be made of its results.json and predictions.parquet "
                f"({one_line(f'{type(error).__name__}: {error}')[:200]}); restore them, or delete the folder and train "
                f"again"
            ) from error

    def load_split(self, key: str = "run") -> pd.DataFrame:
        """Which prompts the router has seen: ``prompt_id, split, text_key, group_key``.

        Args:
            key: the config key that named the folder.

        Raises:
            ErpError: the file is not there, or cannot be read.
        """
        try:
            split = read_kept(self.split, ["prompt_id", "split", "text_key", "group_key"])
        except ValueError as error:
            raise ErpError(
                f"{key} = {self.path}: {error}, so nobody can tell which prompts the router has seen; restore it or "
                f"train again"
            ) from None
        if split["prompt_id"].duplicated().any():
            raise ErpError(f"{key} = {self.path}: split.parquet names a prompt twice; restore it or train again")
        return split

    def keep_split(self, split: pd.DataFrame) -> None:
        """Write what `load_split` reads, and columns more."""
        with replacing(self.split) as temporary:
            split.to_parquet(temporary, index=False)

    @contextmanager
    def running(self, config: Mapping[str, Any]) -> Iterator[bool]:
        """Hold the folder for one process; yields whether it is still to be made; a finished one is left as it is.

        ``config.yaml`` is written first, ``status.json`` says ``running``, then ``ok``, or ``failed`` and why.

        Raises:
            ErpError: another process is making this very run, or there can be no such folder.
        """
        if self.finished:  # perhaps on a mount that takes no lock
            yield False
            return
        make_folder(self.path, self.path.parent)
        try:
            with locked(self.path / "run", timeout_s=0):
                if self.finished:
                    yield False
                    return
                write_text(
                    self.config, yaml.safe_dump(RUN.numbered(plain(config)), sort_keys=False, allow_unicode=True)
                )
                write_json(self.status, {"status": "running"})
                try:
                    yield True
                except BaseException as error:
                    write_json(self.status, {"status": "failed", "error": f"{type(error).__name__}: {error}"})
                    raise
                write_json(self.status, {"status": "ok"})
        except Timeout:
            raise ErpError(
                f"run = {self.path}: another process is making this run; wait for it, or give another `out`"
            ) from None


def read_kept(
    path: Path, texts: Sequence[str], numbers: Sequence[str] = (), filters: list[tuple[str, str, str]] | None = None
) -> pd.DataFrame:
    """Columns of a table that a run folder keeps: texts (ids may be integers), then numbers.

    Raises:
        ValueError: why it cannot be read, on one line.
    """
    import pandas as pd
    import pyarrow

    try:
        frame = pd.read_parquet(path, columns=[*texts, *numbers], filters=filters)
        decoded = frame.astype(dict.fromkeys(texts, object))
    except FileNotFoundError:
        raise ValueError(f"{path.name} cannot be read (it is not there)") from None
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path.name} cannot be read ({one_line(error)[:200]})") from None
    kinds = {name: pd.api.types.infer_dtype(decoded[name]) for name in decoded}
    wrong = [name for name in texts if kinds[name] not in ("string", "integer", "empty")]
    wrong += [name for name in numbers if kinds[name] not in ("floating", "integer", "empty")]
    if wrong:
        raise ValueError(f"{path.name} cannot be read ({wrong[0]} is of another type)")
    return frame


def make_folder(folder: Path, out: Path) -> None:
    """Make a folder under ``out`` with its parents. Raises ErpError where the system refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ErpError(f"out = {out}: {folder} cannot be made ({error.strerror}); give another out") from None
