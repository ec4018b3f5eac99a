"""A command line, sorted into Hydra's flags, overrides and what is ours; and what only Hydra itself can do with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erp.compose import conf_folder, only_named_variables, plain, stored
from erp.config.typed import quoted, typed
from erp.errors import ErpError

Job = Callable[[dict[str, Any]], float | None]
Check = Callable[[Sequence[dict[str, Any]]], None]


@dataclass
class Arguments:
    """A command line, sorted: Hydra's flags, overrides, and the config file a run is repeated from."""

    flags: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    config_file: Path | None = None
    sweep: bool = False


def parse(arguments: Sequence[str]) -> Arguments:
    """Sort a command line. Raises ErpError for what is neither a flag nor ``key=value``."""
    parsed = Arguments()
    rest = iter(arguments)
    for argument in rest:
        if argument in ("-m", "--multirun"):
            parsed.sweep = True
        elif argument.startswith("config="):
            parsed.config_file = _file(argument.removeprefix("config="))
        elif argument.split("=")[0] in ("--config-dir", "-cd"):
            folder = Path(argument.partition("=")[2] or next(rest, "")).expanduser()
            if not folder.is_dir():
                raise ErpError(f"--config-dir = {folder}: there is no such folder; give one with config groups in it")
            parsed.overrides.append(f"hydra.searchpath=[{quoted(f'file://{folder.resolve()}')}]")
        elif argument.startswith("-") or (parsed.flags and "=" not in argument):
            parsed.flags.append(argument)
        elif "=" in argument or argument.startswith("~"):
            parsed.overrides.append(argument)
        else:
            raise ErpError(f"{argument}: is not key=value; see --help")
    parsed.overrides = typed(parsed.overrides, parsed.sweep)
    return parsed


def _file(value: str) -> Path:
    """The file of ``config=``, also where it was quoted as Hydra wants other values. Raises ErpError."""
    bare = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    for text in (value, bare):
        if (file := Path(text).expanduser()).is_file():
            return file
    raise ErpError(f"config = {bare}: there is no such file; give the config.yaml of a run folder")


def through_hydra(program: str, parsed: Arguments, flags: Sequence[str], overrides: Sequence[str], job: Job) -> None:
    """Let Hydra's own main parse flags, compose and launch, with its output folders and log files off."""
    import hydra
    from omegaconf import DictConfig, OmegaConf

    given = [*parsed.overrides, *overrides]

    def task(config: DictConfig) -> float | None:
        with only_named_variables(given):
            container = plain(OmegaConf.to_container(config, resolve=True))
        return job(container)

    name = program if parsed.config_file is None else stored(parsed.config_file)
    off = [
        "hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none",
        "hydra.sweep.subdir=.",
    ]  # fmt: skip
    before = sys.argv
    # Flags last: one that takes a value must not take an override for it.
    sys.argv = [f"erp {program}", *off, *given, *parsed.flags, *flags]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=name)(task)()
    finally:
        sys.argv = before
