"""The jobs of a multirun: which there are, and the config of each, with every fault named before the first starts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erp.compose import apart, compose, conf_folder, hydra_config, plain
from erp.config.options import line_of
from erp.errors import ErpError
from erp.files import places_of

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

MOST_JOBS_CHECKED = 256  # of a larger sweep every value is checked once, and combinations when their jobs start
BASIC = tuple(f"hydra._internal.core_plugins.basic_{part}.Basic{part.capitalize()}" for part in ("launcher", "sweeper"))
Config = dict[str, Any]


@dataclass(frozen=True)
class Jobs:
    """The jobs of a multirun.

    Attributes:
        checked: the configs of the first jobs, and beyond ``MOST_JOBS_CHECKED`` of some others.
        choices: for each key, the overrides of single jobs that it stands for.
        plain: whether they are to be done one after another in this process; else a launcher or a sweeper of Hydra's
            does them, or something was asked for that only Hydra knows.
        composed: makes a config of a job's overrides.
    """

    checked: list[Config]
    choices: list[list[str]]
    plain: bool
    composed: Callable[[Sequence[str]], Config]

    def each(self) -> Iterator[tuple[list[str], Callable[[], Config]]]:
        """Every job's overrides, and what makes its config; as Hydra orders them, the last key's values in turn."""
        for number, job in enumerate(itertools.product(*self.choices)):
            overrides = [o for o in job if _concerns_the_job(o)]
            if number < MOST_JOBS_CHECKED:
                yield overrides, partial(self.checked.__getitem__, number)
            else:
                yield overrides, partial(self.composed, overrides)


def jobs_of(program: str, overrides: Sequence[str], config_file: Path | None = None) -> Jobs:
    """Compose and validate the jobs of a multirun before the first starts, so that a typo does not cost a night.

    An experiment file may hold a sweep itself (``hydra.sweeper.params``); a key that the command gives too is the
    command's.

    Raises:
        ErpError: the faults of all of them.
    """
    given = _parsed(overrides)
    hydra = _hydra_node(program, overrides, given, config_file)
    swept = _swept(hydra, given)
    every = [*_parsed(swept), *given]
    choices = _choices([*swept, *overrides], every)
    composed = partial(compose, program, config_file=config_file)
    errors, checked = [], []
    for job in _checked(list(choices.values())):
        try:
            checked.append(composed([o for o in job if _concerns_the_job(o)]))
        except ErpError as error:
            errors.append(error)
    if errors:
        raise ErpError.all_of(errors)
    if not checked:
        raise ErpError("-m: the sweep has no job; check the lists that are swept over")
    drawn = any(o.is_sweep_override() and not o.is_discrete_sweep() for o in every)
    return Jobs(checked, list(choices.values()), not drawn and _is_plain(hydra, overrides), composed)


def check_sweep(program: str, overrides: Sequence[str], config_file: Path | None = None) -> list[Config]:
    """The configs of `jobs_of`, as far as they are checked before the first job starts."""
    return jobs_of(program, overrides, config_file).checked


def swept_in_file(program: str, overrides: Sequence[str], config_file: Path | None = None) -> list[str]:
    """What an experiment file sweeps over (``hydra.sweeper.params``), as overrides, less what the command gives.

    Raises:
        ErpError: an override does not parse, or the file holds a YAML list for a text like ``a,b``.
    """
    given = _parsed(overrides)
    return _swept(_hydra_node(program, overrides, given, config_file), given)


def for_the_jobs(program: str, overrides: Sequence[str], config_file: Path | None = None) -> list[str]:
    """The overrides with keys of swept groups as choices of one: Hydra gives its own config all that is no choice.

    ``router=knn,mlp router.k=3`` would fail there: the default router has no ``k``.
    """
    given = _parsed(overrides)
    swept = {o.get_key_element() for o in _parsed(swept_in_file(program, overrides, config_file))}
    swept |= {override.get_key_element() for override in given if override.is_sweep_override()}
    done = []
    for text, override in zip(overrides, given, strict=True):
        key, _, value = text.partition("=")
        single = "." in key and key.split(".")[0] in swept and not override.is_sweep_override()
        done.append(f"{key}=choice({value})" if single else text)
    return done


def _checked(choices: Sequence[list[str]]) -> Iterator[tuple[str, ...]]:
    """The jobs, or of more than are checked as many, and every value beside the first one of each other key."""
    yield from itertools.islice(itertools.product(*choices), MOST_JOBS_CHECKED)
    if math.prod(map(len, choices)) > MOST_JOBS_CHECKED:
        first = [values[0] for values in choices]
        for at, values in enumerate(choices):
            for value in values[1:]:
                yield (*first[:at], value, *first[at + 1 :])


def _hydra_node(
    program: str, overrides: Sequence[str], given: Sequence[Override], config_file: Path | None
) -> DictConfig | None:
    """Hydra's own settings under a command; None where they cannot be composed, which is named with the jobs."""
    settled = [text for text, o in zip(overrides, given, strict=True) if not o.is_sweep_override()]
    groups, values = apart(settled, program)  # a value's key may be of an option that the file sweeps over
    paths = [o for o in values if o.startswith(("hydra.searchpath", "hydra.sweeper"))]
    try:
        config = hydra_config(program, [*paths, *groups], config_file, return_hydra_config=True)
    except ErpError:
        return None
    node: DictConfig = config.hydra
    return node


def _swept(hydra: DictConfig | None, given: Sequence[Override]) -> list[str]:
    from omegaconf import OmegaConf

    params = None if hydra is None else hydra.sweeper.get("params")
    sweep = {} if params is None else plain(OmegaConf.to_container(params))  # as it stands there, nothing looked up
    if lists := [f"{key}: {value}" for key, value in sweep.items() if not isinstance(value, str | int | float)]:
        raise ErpError(
            *(f"hydra.sweeper.params.{line}: is a list; write it as one text, like router: ridge,knn" for line in lists)
        )
    if places := places_of("${", sweep):
        raise ErpError(*(f"hydra.sweeper.params.{place}: holds ${{; write the values themselves" for place in places))
    keys = {o.get_key_element() for o in given}
    return [f"{key}={value}" for key, value in sweep.items() if key not in keys]


def _is_plain(hydra: DictConfig | None, overrides: Sequence[str]) -> bool:
    """Whether nothing of Hydra is asked for but what it does of itself: one job after another in this process."""
    if hydra is None or not all(map(_concerns_the_job, overrides)):
        return False
    basic = (hydra.launcher.get("_target_"), hydra.sweeper.get("_target_")) == BASIC
    return basic and not (hydra.job.env_set or hydra.job.env_copy or hydra.job.chdir or hydra.callbacks)


def _choices(texts: Sequence[str], given: Sequence[Override]) -> dict[str, list[str]]:
    """For each key, the overrides of single jobs that it stands for; of a key that is given twice, the last."""
    choices: dict[str, list[str]] = {}
    for text, override in zip(texts, given, strict=True):
        key = override.get_key_element()
        if override.is_sweep_override() and override.is_discrete_sweep():
            choices[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        elif not override.is_sweep_override():  # an interval has no values to list: its sweeper draws them
            choices[key] = [text]
    return choices


def _parsed(overrides: Sequence[str]) -> list[Override]:
    """By Hydra's grammar, with the config groups at hand: glob(*) asks for their options. Raises ErpError."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    found: list[Override] = []
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_folder())):
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        for text in overrides:
            try:
                found += parser.parse_overrides([text])  # unlike parse_override, hands the loader on
            except HydraException as error:
                raise ErpError(line_of(error, [text])) from None
    return found


def _concerns_the_job(override: str) -> bool:
    """Whether an override shapes a job's config; launchers' and sweepers' settings do not."""
    return override.startswith("hydra.searchpath") or not override.startswith(("hydra.", "hydra/"))
