"""What the schema, the files of conf/ and their comments, and the signatures of classes say of every key."""

from __future__ import annotations

import importlib
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml
from pydantic import BaseModel

from erp.build import LABEL, plain_name
from erp.compose import conf_folder
from erp.config import PROGRAMS, Decoding, Member, Pool, Shot
from erp.config.parts import Cost, Tracking, Trainer
from erp.config.serve import Capable, Endpoint, Gateway, Judge

SCHEMAS: dict[str, type[BaseModel]] = {
    "cost": Cost, "gateway": Gateway, "pool": Pool, "tracking": Tracking, "trainer": Trainer,
}  # fmt: skip
PARTS: dict[str, type[BaseModel]] = {
    "pool.members[]": Member,
    "pool.members[].shots[]": Shot,
    "pool.decoding": Decoding,
    "gateway.members[]": Endpoint,
    "gateway.members[].capable": Capable,
    "gateway.judge": Judge,
}


@dataclass(frozen=True)
class Key:
    """One key: as it is given on the command line, its default as YAML, its type with what is allowed, what it is."""

    name: str
    default: Any
    type: str
    meaning: str


@dataclass(frozen=True)
class Option:
    """One file of a group: its opening comment, its keys, and its text without that comment."""

    group: str
    name: str
    about: str
    keys: list[Key]
    body: str


@cache
def comments(file: Path) -> dict[str, str]:
    """What a YAML file says of its keys: dotted key -> the comment behind it, or else the lines right above it."""
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    found: dict[str, str] = {}

    def visit(node: yaml.Node, prefix: str) -> None:
        for item in node.value if isinstance(node, yaml.SequenceNode) else ():
            visit(item, f"{prefix.removesuffix('.')}[].")
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            name, line = f"{prefix}{key.value}", key.start_mark.line
            on_the_line = value.end_mark if value.end_mark.line == line else key.end_mark
            behind = re.match(r"\s*:?\s*(?:[&>|]\S*)?\s*#\s*(.*)", lines[line][on_the_line.column :])
            above: list[str] = []
            while line - 1 - len(above) >= start and (before := lines[line - 1 - len(above)].lstrip()).startswith("#"):
                above.insert(0, before.lstrip("# "))
            if (behind or above) and name not in found:
                found[name] = " ".join([*above, *([behind[1]] if behind else [])])
            visit(value, f"{name}.")

    root = yaml.compose(text)
    if root is not None:
        visit(root, "")
    return found


def documented(cls: type) -> dict[str, str]:
    """What the docstrings of a class and of its bases say of attributes and arguments."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        doc = inspect.cleandoc(base.__doc__ or "")
        for section in re.findall(r"^(?:Args|Attributes):\n((?:[ ]{4}.*\n?|\n)+)", doc, re.MULTILINE):
            for names, text in re.findall(r"^    ([\w, ]+):[ ]+(.*(?:\n {8,}.*)*)", section, re.MULTILINE):
                found |= {
                    plain_name(name.strip()): " ".join(text.split()).replace("``", "`") for name in names.split(",")
                }
    return found


def shown_type(hint: Any) -> str:
    """A type in plain words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        return shown_type(args[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in args)
    if origin in (UnionType, typing.Union):
        shown = [shown_type(arg) for arg in args if arg is not NoneType]
        return " or ".join([*dict.fromkeys(shown), *(["null"] if NoneType in args else [])])
    if inspect.isclass(origin or hint) and issubclass(origin or hint, Mapping):
        return "mapping"
    if inspect.isclass(origin) and issubclass(origin, typing.Iterable) and args:
        return f"list of {shown_type(args[0])}"
    if inspect.isclass(hint) and issubclass(hint, BaseModel):
        return "mapping"
    words = {"str": "text", "float": "number", "int": "whole number", "bool": "true or false"}
    return words.get(getattr(hint, "__name__", ""), getattr(hint, "__name__", str(hint)))


def shown_limits(metadata: typing.Iterable[Any]) -> str:
    """What a pydantic field allows, in words."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return ", ".join(
        f"{text} {getattr(limit, name)}"
        for limit in metadata for name, text in words.items() if getattr(limit, name, None) is not None
    )  # fmt: skip


def _target(node: Mapping[str, Any]) -> type:
    module, _, name = str(node["_target_"]).rpartition(".")
    cls: type = getattr(importlib.import_module(module), name)
    return cls


def _parameters(cls: type) -> dict[str, tuple[str, Any]]:
    """Type and default of what a class is built from, under the config's names."""
    function = cls.__init__  # type: ignore[misc]
    if function is object.__init__:
        return {}
    hints = get_type_hints(function)
    found = list(inspect.signature(function).parameters.values())[1:]
    return {plain_name(p.name): (shown_type(hints.get(p.name, Any)), p.default) for p in found}


def _fields(model: type[BaseModel]) -> dict[str, tuple[str, Any]]:
    """Type with limits, and default, of a schema's fields."""
    found = {}
    for name, field in model.model_fields.items():
        limits = shown_limits(field.metadata)
        kind = shown_type(field.annotation) + (f", {limits}" if limits else "")
        default = "???" if field.is_required() else field.get_default(call_default_factory=True)
        found[field.alias or name] = (kind, default.model_dump() if isinstance(default, BaseModel) else default)
    return found


def groups() -> dict[str, list[Path]]:
    """The option files of every group."""
    found: dict[str, list[Path]] = {}
    for file in sorted(conf_folder().rglob("*/*.yaml")):
        found.setdefault(file.parent.relative_to(conf_folder()).as_posix(), []).append(file)
    return found


def chosen(program: str) -> dict[str, str | None]:
    """The option of every group that a program begins with."""
    content = yaml.safe_load((conf_folder() / f"{program}.yaml").read_text(encoding="utf-8"))
    found = [entry for entry in content["defaults"] if isinstance(entry, dict)]
    return {name.removeprefix("optional "): option for entry in found for name, option in entry.items()}


def program_keys(program: str) -> list[Key]:
    """Every key of a program that belongs to no group."""
    file = conf_folder() / f"{program}.yaml"
    content, said = yaml.safe_load(file.read_text(encoding="utf-8")), comments(file)
    outside = {*chosen(program), "engine"}  # a pool names its engine

    def keys(model: type[BaseModel], node: Mapping[str, Any], prefix: str) -> Iterator[Key]:
        about = documented(model)
        for name, (kind, default) in _fields(model).items():
            if not prefix and name in outside:
                continue
            value, inner = node.get(name, default), _model_in(model, name)
            if inner is not None:
                yield from keys(inner, value, f"{prefix}{name}.")
                continue
            yield Key(f"{prefix}{name}", value, kind, said.get(f"{prefix}{name}") or about.get(name, ""))

    return list(keys(PROGRAMS[program], content, ""))


def _model_in(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The schema of a field that is one."""
    field = next(f for key, f in model.model_fields.items() if (f.alias or key) == name)
    models = [
        h for h in (field.annotation, *get_args(field.annotation)) if inspect.isclass(h) and issubclass(h, BaseModel)
    ]
    return models[0] if models and get_origin(field.annotation) is not list else None


@cache
def option(file: Path) -> Option:
    """What an option file is, and its keys; what its class takes beside those is given with a ``+``."""
    group = file.parent.relative_to(conf_folder()).as_posix()
    text = file.read_text(encoding="utf-8")
    header = [line for line in text.splitlines() if not line.startswith("# @package")]
    count = next((i for i, line in enumerate(header) if not line.startswith("#")), len(header))
    about = "\n".join(line.lstrip("#").removeprefix(" ") for line in header[:count])
    body = "\n".join(header[count:])
    if "# @package" in text.partition("\n")[0]:  # it sets keys of other groups
        return Option(group, file.stem, about, [], body)
    content = {k: v for k, v in yaml.safe_load(text).items() if k != "defaults"}
    rows = _rows(content, f"{group}.", SCHEMAS.get(group), comments(file), _siblings(file, content))
    return Option(group, file.stem, about, list(rows), body)


@cache
def _content(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _siblings(file: Path, content: Mapping[str, Any]) -> dict[str, str]:
    """What other options of the group say of keys that mean the same: those of one class, or of one schema."""
    found: dict[str, str] = {}
    for other in sorted(file.parent.glob("*.yaml")):
        node = _content(other)
        if isinstance(node, dict) and node.get("_target_") == content.get("_target_"):
            found = comments(other) | found
    return found


def _rows(
    node: Mapping[str, Any], prefix: str, schema: type[BaseModel] | None, said: Mapping[str, str],
    siblings: Mapping[str, str], path: str = "",
) -> Iterator[Key]:  # fmt: skip
    cls = _target(node) if "_target_" in node else schema
    known = {} if cls is None else _parameters(cls) if "_target_" in node else _fields(cls)
    about = {} if cls is None else documented(cls)
    mine = {
        LABEL: "what it is called in tables and dashboards",
        "_target_": "the class: one of your own takes its place",
        "kind": "which option this is",
    }
    for name in [*node, *(name for name in known if name not in node)]:
        here = f"{path}{name}"
        given = name in node
        kind, default = known.get(name, ("text", None))
        value = node[name] if given else default
        if value is inspect.Parameter.empty:  # parts that the file's defaults list fills in
            continue
        meaning = said.get(here) or about.get(name) or siblings.get(here) or mine.get(name, "")
        if isinstance(value, Mapping) and value and given:
            inner = _model_in(schema, name) if schema is not None and name in known else None
            yield from _rows(value, f"{prefix}{name}.", inner, said, siblings, f"{here}.")
            continue
        yield Key(f"{prefix if given else '+' + prefix}{name}", value, kind, meaning)


def part_keys(group: str) -> list[Key]:
    """What stands in a group's members, and in what lies in them."""
    said: dict[str, str] = {}
    for file in groups()[group]:
        said = {f"{group}.{name}": text for name, text in comments(file).items()} | said
    return [
        Key(f"{prefix}.{name}", default, kind, said.get(f"{prefix}.{name}") or documented(model).get(name, ""))
        for prefix, model in PARTS.items()
        if prefix.startswith(f"{group}.")
        for name, (kind, default) in _fields(model).items()
    ]
