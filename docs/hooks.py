"""An mkdocs hook: what is made of the code is written at every build, so that nothing of it goes stale."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import NoneType
from typing import Any

import config_reference as reference  # mkdocs looks for modules beside its hooks
import results_reference
import yaml

from erp.cli import summaries
from erp.config import PROGRAMS

PARTS = {"pool": "Members, worked examples, decoding { #members }", "gateway": "Endpoints, judge { #endpoints }"}
LONGEST = 60  # characters of a default that are shown


def shown_value(value: Any) -> str:
    """A default as one would type it; a long one in few words."""
    if isinstance(value, str) and (match := re.fullmatch(r"\$\{oc\.env:(\w+),null\}", value)):
        return f"`${match[1]}`, else `null`"
    if isinstance(value, str) and (match := re.fullmatch(r"\$\{oc\.select:([\w.]+),null\}", value)):
        return f"`{match[1]}`"
    if value == "???":
        return "**required**"
    text = " ".join(yaml.safe_dump(_plain(value), default_flow_style=True, width=10**6).removesuffix("...\n").split())
    if len(text) > LONGEST and isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value):
        return ", ".join(f"`{entry.get('name') or entry.get('task')}`" for entry in value)
    text = text if len(text) <= LONGEST or " " not in text else f"{text[:LONGEST]}..."
    return f"`{text.replace('`', chr(39))}`"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, bool | int | float | str | NoneType) else str(value)


def _table(keys: list[reference.Key]) -> list[str]:
    def cell(text: str) -> str:
        return re.sub(r"(?<![\\|])\|", r"\\|", " ".join(text.split())).replace("<", "&lt;")

    rows = [
        f"| `{key.name}` | {cell(shown_value(key.default))} | {cell(_sentence(key.meaning))} *{cell(key.type)}* |"
        for key in keys
    ]
    return ["| key | default | what it is, *what it may be* |", "|---|---|---|", *rows, ""] if rows else []


def _sentence(text: str) -> str:
    return "" if not text else f"{text[0].upper()}{text[1:].rstrip('.')}."


def programs_page() -> str:
    """Every program: its groups, its keys."""
    lines = [
        "# Config: programs", "",
        "Written at build time from the schema and the files of `conf/`; `erp <program> --help` is the short form. "
        "A group is chosen by `group=option` ([options](config-groups.md)), a key is given by `key=value`; lists and "
        "mappings in quotes, as in `'split.category=\"a b\"'`. Every key is checked before anything is read.", "",
    ]  # fmt: skip
    for program in PROGRAMS:
        begins = reference.chosen(program) | ({"engine": "(the pool's)"} if program == "collect" else {})
        lines += [f"## erp {program}", "", f"{_sentence(summaries()[program])}", ""]
        if begins:
            links = [f"[{name}](config-groups.md#{name}) = {taken or 'null'}" for name, taken in begins.items()]
            lines += [f"Groups and what they begin with: {', '.join(links)}.", ""]
        lines += _table(reference.program_keys(program))
    return "\n".join(lines)


def groups_page() -> str:
    """Every group: its options, their keys."""
    lines = [
        "# Config: groups", "",
        "Written at build time from the files of `conf/` and the signatures of the classes they name. A key with a `+` "
        "stands in no file: the class takes it, and Hydra has to be told that it is new.", "",
    ]  # fmt: skip
    for group, files in reference.groups().items():
        of = [f"`erp {p}`" for p in PROGRAMS if group in reference.chosen(p) or (group == "engine" and p == "collect")]
        options = [reference.option(file) for file in files]
        lines += [f"## {group}", "", f"Read by {', '.join(of)}." if of else "", ""]
        lines += [f"- [`{group}={o.name}`](#{group}-{o.name}): {_escaped(o.about.splitlines()[0])}" for o in options]
        lines += [""]
        for o in options:
            lines += [f"#### {group}={o.name} {{ #{group}-{o.name} }}", "", *_about(o), *_table(o.keys)]
            lines += _also(o)
        if group in PARTS:
            lines += [f"#### {PARTS[group]}", "", *_table(reference.part_keys(group))]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return re.sub(r"([*_\[\]])", r"\\\1", text.replace("<", "&lt;"))


def _about(o: reference.Option) -> list[str]:
    blocks: list[str] = []
    code: list[str] = []
    for line in [*o.about.splitlines(), ""]:
        if re.match(r"\s+erp ", line):
            code.append(line.strip())
            continue
        if code:
            blocks, code = [*blocks, "", "```text", *code, "```", ""], []
        blocks.append(_escaped(line))
    return [*blocks, ""]


def _also(o: reference.Option) -> list[str]:
    """What else choosing an option does; a file that sets keys of other groups is shown as it is."""
    if not o.keys and o.body.strip():
        return ["```yaml", o.body.strip(), "```", ""]
    content = yaml.safe_load(o.body) or {}
    entries = [(k, v) for e in content.get("defaults", []) if isinstance(e, dict) for k, v in e.items()]
    said = []
    for key, value in entries:
        if value is None:
            continue
        group, _, place = key.lstrip("/").partition("@")
        place = place.removeprefix("_global_.")
        said.append(f"`{group}={value}`" + ("" if place == group else f" as `{o.group}.{place}`"))
    return [f"With it comes {', '.join(said)}.", ""] if said else []


def on_files(files: Any, config: Any) -> Any:
    """Mkdocs' event: what is made of the code joins the files of the folder."""
    from mkdocs.structure.files import File

    schema = json.dumps(results_reference.schema(), indent=1)
    for name, page in (
        ("config.md", programs_page()),
        ("config-groups.md", groups_page()),
        ("results.schema.json", schema),
    ):
        files.append(File.generated(config, name, content=page))
    return files
