"""What a user typed on a command line, as Hydra's grammar wants it: a path is a path, whatever letters it has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

# Keys that hold a path, in whatever group they stand: their values are taken as they are.
PATHS = frozenset({"path", "out", "run", "input", "prices", "cache_dir", "weights_dir"})
_STRUCTURE = set("[]{}(),'\"")  # what lists, mappings, functions and quotes are written with
# Numbers as YAML writes them, in config files and their comments, and as Hydra's command line does.
_YAML_NUMBERS = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|str|int|float|bool)\(.*\)", re.DOTALL)


def typed(overrides: Sequence[str], sweep: bool = False) -> list[str]:
    """Overrides as Hydra parses them: texts that it would refuse or take apart are quoted, paths always.

    ``data.path=/a b, c/é.csv`` is one path, with ``~`` for the home folder. In a sweep a comma parts values, unless the
    whole is a path that exists. A mapping may bring keys of its own (``engine.extra_body={top_k: -1}``): whether it may
    is the schema's to say. What was quoted already stays as it is.
    """
    return [_typed(override, sweep) for override in overrides]


def parsed(override: str) -> Override | None:
    """An override by Hydra's grammar; None where it is none."""
    from hydra.errors import HydraException

    try:
        return as_override(override)
    except (HydraException, RecursionError):
        return None


@lru_cache(maxsize=1024)
def as_override(text: str) -> Override:
    """An override by Hydra's grammar. Raises HydraException."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([text])
    return override


def parses(override: str) -> bool:
    """Whether an override is one in Hydra's grammar."""
    return parsed(override) is not None


def _typed(override: str, sweep: bool) -> str:
    key, equals, value = override.partition("=")
    if not equals or not value or key.startswith(("~", "hydra.", "hydra/")):
        return override
    is_path = key.split(".")[-1].lstrip("+") in PATHS
    if value.startswith("{") and not is_path:
        return f"++{override}" if not key.startswith("+") and parses(override) else override
    several = sweep and not (is_path and Path(value).expanduser().exists())
    # In a sweep, functions, and values that were quoted one by one, are Hydra's to read.
    if several and is_path and (_FUNCTION.fullmatch(value) or ("," in value and set(value) & {"'", '"'})):
        return override
    return f"{key}={','.join(_value(key, part, is_path) for part in (value.split(',') if several else [value]))}"


def _value(key: str, value: str, is_path: bool) -> str:
    if value.lower() in _YAML_NUMBERS and not is_path:
        return _YAML_NUMBERS[value.lower()]
    if value == "null" or "${" in value or _isquoted(value):
        return value
    if is_path:
        return quoted(str(Path(value).expanduser()) if value.startswith("~") else value)
    return value if set(value) & _STRUCTURE or parses(f"{key}={value}") else quoted(value)


def _isquoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and parses(f"key={value}")


def quoted(value: str) -> str:
    """A text in quotes that Hydra takes off again."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(value, Quote.double).with_quotes()


def item(value: str) -> str:
    """A text as an item of a list on the command line: quoted unless it is a plain name."""
    plain = re.fullmatch(r"[A-Za-z_][\w.-]*", value, re.ASCII) and as_override(f"key={value}").value() == value
    return value if plain else quoted(value)


def argument(key: str, value: str) -> str:
    """A key and a text as a word that a user may paste into a shell."""
    return shlex.quote(f"{key}={quoted(value) if set(value) & _STRUCTURE else value}")
