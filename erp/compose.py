"""Hydra: overrides -> the composed container of a program, with every fault of a command named at once."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erp.config import validate
from erp.config.options import conf_folder, is_group, line_of, no_option, options
from erp.config.resolved import read_resolved
from erp.config.typed import as_override, typed
from erp.errors import ErpError
from erp.files import read_yaml

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["compose", "conf_folder", "options"]

REPEATED = "_repeated_"  # Hydra's name of the config file that a run is repeated from
OWN_VARIABLES = ("${oc.env:ERP_WEIGHTS}",)


def compose(program: str, overrides: Sequence[str], config_file: Path | None = None) -> dict[str, Any]:
    """The resolved config of ``program`` under Hydra overrides, or under those over a run's own ``config.yaml``.

    Raises:
        ErpError: every override that does not fit, one line each, and every fault of the rest.
    """
    if nameless := [f"{o}: is not key=value; see --help" for o in overrides if o.startswith("=")]:
        raise ErpError(*nameless)  # Hydra would take the value for a group's option
    if config_file is not None and (options_ := apart(overrides, program)[0]):
        raise ErpError(
            *(f"{o}: a whole group cannot be chosen over config=; give single keys of it, like "
              f"{o.split('=')[0]}.<key>=<value>, or compose the command anew" for o in options_)
        )  # fmt: skip
    container, faults = _judged(program, typed(overrides), config_file)
    try:
        validate(program, container)
    except ErpError as error:
        faults.extend(error.faults)
    if faults:
        raise ErpError(*dict.fromkeys(faults))
    return container


def _judged(program: str, overrides: Sequence[str], config_file: Path | None) -> tuple[dict[str, Any], list[str]]:
    """The container of the overrides that fit, and the faults of the others.

    Hydra stops at the first fault: what it names is left out, and the rest composed again. Where it names none of the
    overrides, each is judged alone.
    """
    groups, values = apart(overrides, program)
    left = [*groups, *values]
    faults: dict[str, list[str]] = {}
    while True:
        try:
            container = _compose(program, [o for o in overrides if o in left], config_file)
        except ErpError as error:
            said = {o: found for o in left if (found := [fault for fault in error.faults if _is_of(fault, o)])}
            said = said or _judged_alone(program, left, config_file)
            if not said:  # each fits, and all do not
                raise ErpError(*dict.fromkeys([*chain.from_iterable(faults.values()), *error.faults])) from None
            faults |= said
            left = [o for o in left if o not in said]
        else:
            return container, [fault for o in (*groups, *values) for fault in faults.get(o, [])]


def _is_of(fault: str, override: str) -> bool:
    """Whether a line starts with an override or its key."""
    key = override.partition("=")[0]
    return fault.startswith((f"{key} = ", f"{key}: ", f"{key.lstrip('+~')} = ", f"{override}: "))


def _judged_alone(program: str, overrides: Sequence[str], config_file: Path | None) -> dict[str, list[str]]:
    """The faults of every override that does not fit, each beside the groups' options that do."""
    good: list[str] = []
    faults: dict[str, list[str]] = {}
    groups, values = apart(overrides, program)
    paths = [o for o in values if o.startswith("hydra.searchpath")]  # where options of groups are looked for
    for override in [*paths, *groups, *(o for o in values if o not in paths)]:
        try:
            _compose(program, [*(o for o in good if o in groups or o in paths), override], config_file)
            good.append(override)
        except ErpError as error:
            faults[override] = list(error.faults)
    return faults


def _compose(program: str, overrides: Sequence[str], config_file: Path | None) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with only_named_variables(overrides):
            return plain(OmegaConf.to_container(hydra_config(program, overrides, config_file), resolve=True))
    except (OmegaConfBaseException, RecursionError) as error:
        raise ErpError(line_of(error, overrides, program)) from None


def hydra_config(
    program: str, overrides: Sequence[str], config_file: Path | None, return_hydra_config: bool = False
) -> DictConfig:
    """What Hydra composes of a program's overrides, nothing looked up yet.

    Choosing the options of groups takes nearly all of the time. It is done once for all commands of a process that
    choose the same of the same files; Hydra then sets the values in a copy, as it sets them itself.

    Raises:
        ErpError: the first thing that Hydra refuses.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf.errors import OmegaConfBaseException

    name = program if config_file is None else stored(config_file)
    if faults := list(filter(None, (no_option(o, program) for o in overrides))):
        raise ErpError(*faults)
    values = [o for o in overrides if _is_set(o, program)]
    chosen = tuple(o for o in overrides if o not in values)
    try:
        given = [as_override(value) for value in values]
        ConfigLoaderImpl.validate_sweep_overrides_legal(given, RunMode.RUN, from_shell=False)
        config = deepcopy(_chosen(name, chosen, return_hydra_config, tuple(_versions(chosen, config_file))))
        ConfigLoaderImpl._apply_overrides_to_config(given, config)
    except (HydraException, OmegaConfBaseException, RecursionError) as error:
        raise ErpError(line_of(error, overrides, program)) from None
    return config


@lru_cache(maxsize=64)
def _chosen(name: str, overrides: tuple[str, ...], return_hydra_config: bool, _: Hashable) -> DictConfig:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(version_base="1.3", config_dir=str(conf_folder())):
        return hydra_compose(name, overrides=list(overrides), return_hydra_config=return_hydra_config)


def _is_set(override: str, program: str) -> bool:
    """Whether an override sets, adds or takes away a value, rather than choosing what is composed."""
    key, _, value = override.partition("=")
    if key.lstrip("+~").startswith("hydra"):
        return False
    return value.startswith("{") or not (
        is_group(override, program)
        or "@" in key
        or (key.startswith("+") and not key.startswith("++") and "." not in key)
    )  # +key: perhaps a group of the user's own


def _versions(overrides: Sequence[str], config_file: Path | None) -> list[tuple[Path, int, int]]:
    """Which files a config may be composed of, and as of when."""
    folders = [conf_folder()]
    for override in overrides:
        if override.startswith("hydra.searchpath=") and isinstance(paths := as_override(override).value(), list):
            folders += [Path(str(path).removeprefix("file://")) for path in paths]
    files = [] if config_file is None else [config_file]
    files += chain.from_iterable(folder.glob(kind) for folder in folders for kind in ("*.yaml", "*/*.yaml"))
    states = [(file, file.stat()) for file in files if file.exists()]
    return [(file, state.st_mtime_ns, state.st_size) for file, state in states]


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


def apart(overrides: Iterable[str], program: str) -> tuple[list[str], list[str]]:
    """Choices of a group's option, and the rest: a value's key may exist only once its group is chosen."""
    groups: list[str] = []
    values: list[str] = []
    for override in overrides:
        (groups if is_group(override, program) else values).append(override)
    return groups, values
