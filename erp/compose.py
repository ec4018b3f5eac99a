"""Hydra: overrides -> the composed container of a program, with every fault of a command named at once."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erp.config import validate
from erp.config.options import conf_folder, is_group, line_of, no_option, options
from erp.config.resolved import read_resolved
from erp.config.typed import typed
from erp.errors import ErpError
from erp.files import places_of, read_yaml

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

__all__ = ["check_sweep", "compose", "conf_folder", "for_the_jobs", "options", "swept_in_file"]

MOST_JOBS_CHECKED = 256  # of a larger sweep every value is checked once, and combinations when their jobs start
REPEATED = "_repeated_"  # Hydra's name of the config file that a run is repeated from
OWN_VARIABLES = ("${oc.env:ERP_WEIGHTS}",)


def compose(program: str, overrides: Sequence[str], config_file: Path | None = None) -> dict[str, Any]:
    """The resolved config of ``program`` under Hydra overrides, or under those over a run's own ``config.yaml``.

    Raises:
        ErpError: every override that does not fit, one line each, and every fault of the rest.
    """
    if nameless := [f"{o}: is not key=value; see --help" for o in overrides if o.startswith("=")]:
        raise ErpError(*nameless)  # Hydra would take the value for a group's option
    if config_file is not None and (options_ := _apart(overrides)[0]):
        raise ErpError(
            *(f"{o}: a whole group cannot be chosen over config=; give single keys of it, like "
              f"{o.split('=')[0]}.<key>=<value>, or compose the command anew" for o in options_)
        )  # fmt: skip
    overrides = typed(overrides)
    faults: list[str] = []
    container: dict[str, Any] = {}
    try:
        container = _compose(program, overrides, config_file)
    except ErpError:
        # Hydra stops at the first fault. Judge each override alone, then the ones that remain together.
        good: list[str] = []
        groups, values = _apart(overrides)
        paths = [o for o in values if o.startswith("hydra.searchpath")]  # where options of groups are looked for
        for override in [*paths, *groups, *(o for o in values if o not in paths)]:
            trial = [*(o for o in good if o in groups or o in paths), override]
            try:
                _compose(program, trial, config_file)
                good.append(override)
            except ErpError as error:
                faults.extend(error.faults)
        try:
            container = _compose(program, [o for o in overrides if o in good], config_file)
        except ErpError as error:
            raise ErpError(*dict.fromkeys([*faults, *error.faults])) from None
    try:
        validate(program, container)
    except ErpError as error:
        faults.extend(error.faults)
    if faults:
        raise ErpError(*dict.fromkeys(faults))
    return container


def check_sweep(program: str, overrides: Sequence[str], config_file: Path | None = None) -> list[dict[str, Any]]:
    """Compose and validate the jobs of a multirun before the first starts, so that a typo does not cost a night.

    An experiment file may hold a sweep itself (``hydra.sweeper.params``); a key that the command gives too is the
    command's.

    Returns:
        The jobs' configs, as far as they were checked.

    Raises:
        ErpError: the faults of all of them.
    """
    errors, jobs = [], []
    choices = _choices([*swept_in_file(program, overrides, config_file), *overrides])
    for job in _checked(choices):
        try:
            jobs.append(compose(program, [o for o in job if _concerns_the_job(o)], config_file))
        except ErpError as error:
            errors.append(error)
    if errors:
        raise ErpError.all_of(errors)
    if not jobs:
        raise ErpError("-m: the sweep has no job; check the lists that are swept over")
    return jobs


def _checked(choices: Sequence[list[str]]) -> Iterator[tuple[str, ...]]:
    """The jobs, or of more than are checked as many, and every value beside the first one of each other key."""
    yield from itertools.islice(itertools.product(*choices), MOST_JOBS_CHECKED)
    if math.prod(map(len, choices)) > MOST_JOBS_CHECKED:
        first = [values[0] for values in choices]
        for at, values in enumerate(choices):
            for value in values[1:]:
                yield (*first[:at], value, *first[at + 1 :])


def swept_in_file(program: str, overrides: Sequence[str], config_file: Path | None = None) -> list[str]:
    """What an experiment file sweeps over (``hydra.sweeper.params``), as overrides, less what the command gives.

    Raises:
        ErpError: an override does not parse, or the file holds a YAML list for a text like ``a,b``.
    """
    from omegaconf import OmegaConf

    with _parser() as parsed:
        given = [parsed(text) for text in overrides]
    settled = [text for text, o in zip(overrides, given, strict=True) if not o.is_sweep_override()]
    groups, values = _apart(settled)  # a value's key may be of an option that the file sweeps over
    paths = [o for o in values if o.startswith(("hydra.searchpath", "hydra.sweeper"))]
    try:
        config = _hydra_config(program, [*paths, *groups], config_file, return_hydra_config=True)
    except ErpError:  # named when the jobs are composed
        return []
    params = config.hydra.sweeper.get("params")
    sweep = {} if params is None else plain(OmegaConf.to_container(params))  # as it stands there, nothing looked up
    if lists := [f"{key}: {value}" for key, value in sweep.items() if not isinstance(value, str | int | float)]:
        raise ErpError(
            *(f"hydra.sweeper.params.{line}: is a list; write it as one text, like router: ridge,knn" for line in lists)
        )
    if places := places_of("${", sweep):
        raise ErpError(*(f"hydra.sweeper.params.{place}: holds ${{; write the values themselves" for place in places))
    keys = {o.get_key_element() for o in given}
    return [f"{key}={value}" for key, value in sweep.items() if key not in keys]


def for_the_jobs(program: str, overrides: Sequence[str], config_file: Path | None = None) -> list[str]:
    """The overrides with keys of swept groups as choices of one: Hydra gives its own config all that is no choice.

    ``router=knn,mlp router.k=3`` would fail there: the default router has no ``k``.
    """
    in_file = swept_in_file(program, overrides, config_file)
    with _parser() as parsed:
        given = [parsed(text) for text in overrides]
        swept = {parsed(text).get_key_element() for text in in_file}
    swept |= {override.get_key_element() for override in given if override.is_sweep_override()}
    done = []
    for text, override in zip(overrides, given, strict=True):
        key, _, value = text.partition("=")
        single = "." in key and key.split(".")[0] in swept and not override.is_sweep_override()
        done.append(f"{key}=choice({value})" if single else text)
    return done


def _choices(overrides: Sequence[str]) -> list[list[str]]:
    """For each override, the overrides of single jobs that it stands for."""
    choices: list[list[str]] = []
    with _parser() as parsed:
        for text in overrides:
            override = parsed(text)
            if override.is_sweep_override() and override.is_discrete_sweep():
                key = override.get_key_element()
                choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
            elif not override.is_sweep_override():  # an interval has no values to list: its sweeper draws them
                choices.append([text])
    return choices


@contextmanager
def _parser() -> Iterator[Callable[[str], Override]]:
    """Hydra's parser of overrides, with the config groups at hand: glob(*) asks for their options."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    with initialize_config_dir(version_base="1.3", config_dir=str(conf_folder())):
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())

        def parsed(text: str) -> Override:
            try:
                (override,) = parser.parse_overrides([text])  # unlike parse_override, hands the loader on
            except HydraException as error:
                raise ErpError(line_of(error, [text])) from None
            return override

        yield parsed


def _concerns_the_job(override: str) -> bool:
    """Whether an override shapes a job's config; launchers' and sweepers' settings do not."""
    return override.startswith("hydra.searchpath") or not override.startswith(("hydra.", "hydra/"))


def _compose(program: str, overrides: Sequence[str], config_file: Path | None) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with only_named_variables(overrides):
            return plain(OmegaConf.to_container(_hydra_config(program, overrides, config_file), resolve=True))
    except (OmegaConfBaseException, RecursionError) as error:
        raise ErpError(line_of(error, overrides, program)) from None


def _hydra_config(
    program: str, overrides: Sequence[str], config_file: Path | None, return_hydra_config: bool = False
) -> DictConfig:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    name = program if config_file is None else stored(config_file)
    if faults := list(filter(None, map(no_option, overrides))):
        raise ErpError(*faults)
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf_folder())):
            return hydra_compose(name, overrides=list(overrides), return_hydra_config=return_hydra_config)
    except (HydraException, OmegaConfBaseException, RecursionError) as error:
        raise ErpError(line_of(error, overrides, program)) from None


def stored(config_file: Path) -> str:
    """Give Hydra the content of a run's ``config.yaml``; returns the name that it knows it by.

    The file may be somebody else's. It is resolved already: nothing in it is looked up, in the environment or
    elsewhere, nor are other files.

    Raises:
        ErpError: it cannot be read, or holds what a resolved config does not.
    """
    from hydra.core.config_store import ConfigStore

    try:
        content = read_yaml(config_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ErpError(f"config = {config_file}: cannot be read ({error}); give a run folder's config.yaml") from None
    content = read_resolved(content, f"config = {config_file}")
    if own := sorted({"defaults", "hydra"} & set(content)):
        raise ErpError(f"config = {config_file}: has {own[0]}, which no resolved config has; leave it out")
    ConfigStore.instance().store(REPEATED, content)
    return REPEATED


@contextmanager
def only_named_variables(overrides: Sequence[str]) -> Iterator[None]:
    """Within, configs read those environment variables alone that erp's own configs or the command name.

    An experiment file, or a group's option, may be somebody else's: ``router.name: ${oc.env:OPENAI_API_KEY}`` would
    stand in a folder's name, in reports and in checkpoints.
    """
    from omegaconf import OmegaConf
    from omegaconf.resolvers import oc

    named = set(re.findall(r"oc\.env:\s*['\"]?(\w+)", " ".join([*OWN_VARIABLES, *overrides])))

    def env(name: str, *default: str | None) -> str | None:
        if name not in named:
            raise ValueError(f"${{oc.env:{name}}} is looked up only where the command names it")
        return oc.env(name, *default)

    OmegaConf.register_new_resolver("oc.env", env, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def plain(container: Any) -> dict[str, Any]:
    """A resolved container as a mapping with text keys."""
    assert isinstance(container, Mapping)
    return {str(key): value for key, value in container.items()}


def _apart(overrides: Iterable[str]) -> tuple[list[str], list[str]]:
    """Choices of a group's option, and the rest: a value's key may exist only once its group is chosen."""
    groups: list[str] = []
    values: list[str] = []
    for override in overrides:
        (groups if is_group(override) else values).append(override)
    return groups, values
