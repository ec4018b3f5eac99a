"""The config groups and their options, and Hydra's messages about them as lines that a user can act on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import yaml

from erp.config.typed import parsed, parses
from erp.errors import shorten
from erp.formats.renamed import KEYS

MOST_SHOWN = 200  # letters of what was typed
_NO_GRAMMAR = (
    "missing EQUAL", "mismatched input", "no viable alternative", "extraneous input", "LexerNoViableAlt",
)  # fmt: skip


@cache
def conf_folder() -> Path:
    """The folder of config groups: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


def options(group: str) -> list[str]:
    """The options of a config group, by name."""
    return sorted(file.stem for file in (conf_folder() / group).glob("*.yaml"))


def is_group(override: str, program: str) -> bool:
    """Whether an override chooses an option of a config group; a program may have a plain key of a group's name."""
    key = override.lstrip("+~").split("=")[0].split("@")[0]
    return (conf_folder() / key).is_dir() and key not in _plain_keys(conf_folder() / f"{program}.yaml")


@cache
def _plain_keys(program: Path) -> frozenset[str]:
    return frozenset(_keys_in(program, []))


def no_option(override: str, program: str) -> str | None:
    """The fault of a group's choice that cannot be an option's name (``router=null``): Hydra has no message of it."""
    group, equals, text = override.lstrip("+").partition("=")
    if not (equals and is_group(override, program)) or override.startswith("~") or text.startswith("{"):
        return None
    given = parsed(override)
    value = given.value() if given is not None and not given.is_sweep_override() else text
    if isinstance(value, str) and value:
        return None
    several = f" (-m {group}=a,b sweeps over several)" if isinstance(value, list) else ""
    known = f"{', '.join(options(group))}{several}"
    return f"{group} = {text}: is no option; choose one of {known}, or leave it out; {_told(program)}"


def line_of(error: Exception, overrides: Sequence[str], program: str | None = None) -> str:
    """Hydra's message as one line: key = value, what is allowed, what to do; ``program`` is the one that was asked."""
    text = " ".join(str(error).split())
    if match := re.search(r"Could not find '([^']+)' Available options in '([^']+)': (.*) Config search path", text):
        found, group, known = match.groups()  # with those of hydra/launcher, and of a folder of the user's
        option = found.removeprefix(f"{group}/")
        named = f", or name one of the table's as {group}.name={option}" if group == "reward_model" else ""
        if group == "data" and re.search(r"[/.]", option):  # a path
            named = f", or give a table of your own as data=table data.path={option}"
        known = ", ".join(known.split())
        return f"{group} = {option}: there is no such option; choose one of {known}{named}; {_told(program)}"
    if match := re.search(r"Could not override '([^']+)'", text):
        key = match.group(1)
        value = next((o.split("=", 1)[1] for o in overrides if o.startswith(f"{key}=")), "")
        return f"{key} = {value}: {_where_known(key, program)}"
    if match := re.search(r"Ambiguous value for argument '(\+*)([^=]+)=(.*?)' 1\. To use it", text):
        _, key, value = match.groups()
        return f"{key} = {value}: are several values; -m sweeps over them, '{key}=[{value}]' is a list of them"
    if match := re.search(r"Interpolation key '([^']+)' not found full_key: (\S+)", text):
        return f"{match[2]}: refers to ${{{match[1]}}}, and there is no such key; name another, or give a value"
    if match := re.search(
        r"An item is already at '([^']+)'|Multiple values for (\w+)|(\S+) appears more than once in the final", text
    ):
        return f"+{next(filter(None, match.groups()))}: is there already; leave out the +"
    if match := re.search(r"Error merging override \+*([^=]+)=(.*)", text):
        return f"{match[1]} = {match[2]}: does not fit what stands there; see --help for its keys"
    if any(words in text for words in _NO_GRAMMAR) or isinstance(error, RecursionError):
        bad = next((o for o in overrides if not parses(o)), text)
        bad = bad if len(bad) <= MOST_SHOWN else f"{bad[:MOST_SHOWN]}..."
        advice = "a text with , = { } [ ] ( ) or quotes in it is quoted twice: 'key=\"a, b\"'"
        return f"{bad}: is not key=value in Hydra's grammar; {advice}"
    return text


def _told(program: str | None) -> str:
    return f"`erp {program or '<program>'} --help` says in a line each what they are"


def _where_known(key: str, program: str | None = None) -> str:
    folder = conf_folder()
    groups = sorted(path.name for path in folder.iterdir() if path.is_dir())
    *parents, last = key.split(".")
    if key in KEYS:
        return f"there is no such key any more; {KEYS[key]}"
    if parents and parents[0] in groups and _is_open(parents):
        return f"is not there yet, and may be added; give +{key}=<value>"
    what = "there is no such key"
    by_program = {file.stem: _keys_of(file, parents) for file in folder.glob("*.yaml")}
    known = by_program[program] if program in by_program else set[str]().union(*by_program.values())
    if parents and parents[0] in groups:
        what = f"the chosen option of {parents[0]} has no such key"
        keys = {option: _keys_in(folder / parents[0] / f"{option}.yaml", parents[1:]) for option in options(parents[0])}
        if having := [option for option, names in keys.items() if last in names]:
            return f"{what}; it belongs to {parents[0]}={shorten(having)}; see --help"
        known.update(*keys.values())
    elif parents and not known:  # the fault is further up
        return _where_known(".".join(parents), program)
    if having := sorted(f"erp {name}" for name, keys in by_program.items() if last in keys and last not in known):
        return f"{what}; it belongs to {' and '.join(having)}; see --help"
    near = difflib.get_close_matches(last, sorted(known), n=1)
    return f"{what}; " + (f"did you mean {'.'.join([*parents, near[0]])}?" if near else "see --help")


def _keys_of(program: Path, parents: Sequence[str]) -> set[str]:
    """What may stand under ``parents`` in a program's config; at its top its groups too."""
    keys = {*_keys_in(program, parents)} - {"defaults"}
    if not parents:
        defaults = _node(program, ["defaults"])
        entries = defaults if isinstance(defaults, list) else []
        keys.update(str(group) for entry in entries if isinstance(entry, dict) for group in entry)
    return keys


def _is_open(path: Sequence[str]) -> bool:
    """Whether an option of a group has an empty mapping there: its keys are the user's."""
    folder = conf_folder() / path[0]
    return any(_node(folder / f"{option}.yaml", path[1:]) == {} for option in options(path[0]))


def _keys_in(file: Path, parents: Sequence[str]) -> list[str]:
    """The keys that stand under ``parents`` in a config file; none where there is no such mapping."""
    node = _node(file, parents)
    return [str(name) for name in node] if isinstance(node, Mapping) else []


def _node(file: Path, path: Sequence[str]) -> object:
    node = yaml.safe_load(file.read_text(encoding="utf-8"))
    for name in path:
        node = node.get(name) if isinstance(node, Mapping) else None
    return node
