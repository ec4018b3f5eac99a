"""Hydra: overrides -> the composed container of a program, with every fault of a command named at once."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from erp.config import validate
from erp.errors import ErpError, shorten

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

MOST_JOBS_CHECKED = 256  # of a larger sweep every value is checked once, and combinations when their jobs start


def conf_folder() -> Path:
    """The folder of config groups: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


def options(group: str) -> list[str]:
    """The options of a config group, by name."""
    return sorted(file.stem for file in (conf_folder() / group).glob("*.yaml"))


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
    with _parser() as parsed:
        given = [parsed(text) for text in overrides]
    settled = [text for text, o in zip(overrides, given, strict=True) if not o.is_sweep_override()]
    groups, values = _apart(settled)  # a value's key may be of an option that the file sweeps over
    paths = [o for o in values if o.startswith(("hydra.searchpath", "hydra.sweeper"))]
    try:
        config = _hydra_config(program, [*paths, *groups], config_file, return_hydra_config=True)
    except ErpError:  # named when the jobs are composed
        return []
    sweep = dict(config.hydra.sweeper.get("params") or {})
    if lists := [f"{key}: {value}" for key, value in sweep.items() if not isinstance(value, str | int | float)]:
        raise ErpError(
            *(f"hydra.sweeper.params.{line}: is a list; write it as one text, like router: ridge,knn" for line in lists)
        )
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
                raise ErpError(_line_of(error, [text])) from None
            return override

        yield parsed


def _concerns_the_job(override: str) -> bool:
    """Whether an override shapes a job's config; launchers' and sweepers' settings do not."""
    return override.startswith("hydra.searchpath") or not override.startswith(("hydra.", "hydra/"))


def _compose(program: str, overrides: Sequence[str], config_file: Path | None) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return plain(OmegaConf.to_container(_hydra_config(program, overrides, config_file), resolve=True))
    except OmegaConfBaseException as error:
        raise ErpError(_line_of(error, overrides)) from None


def _hydra_config(
    program: str, overrides: Sequence[str], config_file: Path | None, return_hydra_config: bool = False
) -> DictConfig:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    folder = conf_folder() if config_file is None else config_file.resolve().parent
    name = program if config_file is None else config_file.stem
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(folder)):
            return hydra_compose(name, overrides=list(overrides), return_hydra_config=return_hydra_config)
    except (HydraException, OmegaConfBaseException) as error:
        raise ErpError(_line_of(error, overrides)) from None


def plain(container: Any) -> dict[str, Any]:
    """A resolved container as a mapping with text keys."""
    assert isinstance(container, Mapping)
    return {str(key): value for key, value in container.items()}


def _apart(overrides: Iterable[str]) -> tuple[list[str], list[str]]:
    """Choices of a group's option, and the rest: a value's key may exist only once its group is chosen."""
    groups: list[str] = []
    values: list[str] = []
    for override in overrides:
        is_group = (conf_folder() / override.lstrip("+~").split("=")[0].split("@")[0]).is_dir()
        (groups if is_group else values).append(override)
    return groups, values


def _line_of(error: Exception, overrides: Sequence[str]) -> str:
    """Hydra's message as one line: key = value, what is allowed, what to do."""
    text = " ".join(str(error).split())
    if match := re.search(r"Could not find '([^']+)/([^']+)'", text):
        group, option = match.groups()
        group, _, rest = group.partition("/")
        option = f"{rest}/{option}" if rest else option
        named = f", or name one of the table's as {group}.name={option}" if group == "reward_model" else ""
        return f"{group} = {option}: there is no such option; choose one of {shorten(options(group), 20)}{named}"
    if match := re.search(r"Could not override '([^']+)'", text):
        key = match.group(1)
        value = next((o.split("=", 1)[1] for o in overrides if o.startswith(f"{key}=")), "")
        return f"{key} = {value}: {_where_known(key)}"
    if match := re.search(r"An item is already at '([^']+)'|Multiple values for (\w+)", text):
        return f"+{match.group(1) or match.group(2)}: is there already; leave out the +"
    if any(
        words in text
        for words in (
            "missing EQUAL",
            "mismatched input",
            "no viable alternative",
            "extraneous input",
            "LexerNoViableAlt",
        )
    ):
        bad = next((o for o in overrides if not _parses(o)), text)
        advice = "quote values that hold , = { } [ ] or spaces: 'key=\"a b\"'"
        return f"{bad}: is not key=value in Hydra's grammar; {advice}"
    return text


def _parses(override: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _where_known(key: str) -> str:
    import difflib

    folder = conf_folder()
    groups = sorted(path.name for path in folder.iterdir() if path.is_dir())
    *parents, last = key.split(".")
    what = "there is no such key"
    known = {name for file in folder.glob("*.yaml") for name in _keys_in(file, parents)} - {"defaults"}
    if not parents:
        known.update(groups)
    elif parents[0] in groups:
        what = f"the chosen option of {parents[0]} has no such key"
        keys = {option: _keys_in(folder / parents[0] / f"{option}.yaml", parents[1:]) for option in options(parents[0])}
        if having := [option for option, names in keys.items() if last in names]:
            return f"{what}; it belongs to {parents[0]}={shorten(having)}; see --help"
        known.update(*keys.values())
    elif not known:  # the fault is further up
        return _where_known(".".join(parents))
    near = difflib.get_close_matches(last, sorted(known), n=1)
    return f"{what}; " + (f"did you mean {'.'.join([*parents, near[0]])}?" if near else "see --help")


def _keys_in(file: Path, parents: Sequence[str]) -> list[str]:
    """The keys that stand under ``parents`` in a config file; none where there is no such mapping."""
    node = yaml.safe_load(file.read_text(encoding="utf-8"))
    for parent in parents:
        node = node.get(parent) if isinstance(node, Mapping) else None
    return [str(name) for name in node] if isinstance(node, Mapping) else []
