"""The config reference names every key there is, says what it is, and names none that does not compose."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from erp.compose import compose, conf_folder
from erp.config import PROGRAMS
from tests.docs.pages import ROOT

OPTIONS = sorted(path.relative_to(conf_folder()).with_suffix("").as_posix() for path in conf_folder().glob("*/*.yaml"))
GIVEN = {
    "run": "runs/a",
    "out": "shared",
    "to": "me/router",
    "path": "scores.csv",
    "data.path": "scores.parquet",
    "backbone.member": "some-model",
    "reward_model.against": "some-model",
    "prompts.path": "a.jsonl",
    "prompts.dataset": "a/b",
}


def _module(name: str):
    """A file of docs/ as a module, as mkdocs loads its hooks."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.pop(0)


reference = _module("config_reference")
hooks = _module("hooks")


@pytest.fixture(scope="module")
def programs_page() -> str:
    return hooks.programs_page()


@pytest.fixture(scope="module")
def groups_page() -> str:
    return hooks.groups_page()


def leaves(container, prefix=""):
    for name, value in container.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def option(name: str):
    return reference.option(conf_folder() / f"{name}.yaml")


def required(program: str) -> list[str]:
    names = [key.name for key in reference.program_keys(program) if key.default == "???"]
    return [f"{name}={GIVEN[name]}" for name in names]


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_key_of_a_program_is_there_and_says_what_it_is(program, programs_page):
    section = programs_page.split(f"## erp {program}\n")[1].split("\n## ")[0]
    groups = {*reference.chosen(program), "engine"}
    composed = compose(program, required(program))
    for name in leaves({k: v for k, v in composed.items() if k not in groups}):
        assert f"| `{name}` |" in section, f"{program}: {name} is not in the reference"
    for field, info in PROGRAMS[program].model_fields.items():  # of the schema, also where no file names it
        name = info.alias or field
        assert re.search(rf"\| `{name}[.`]|\[{name}\]\(", section), f"{program}: {name} of the schema is missing"
    for key in reference.program_keys(program):
        assert key.meaning, f"{program}: {key.name} says nowhere what it is; write a comment in conf/{program}.yaml"


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_key_of_a_program_composes_with_its_default(program):
    composed = compose(program, required(program))
    for key in reference.program_keys(program):
        node = composed
        for part in key.name.split("."):
            assert part in node, f"{program}: {key.name} is in the reference and in no config"
            node = node[part]
        if not str(key.default).startswith(("${", "???")):
            assert node == key.default or float(node) == float(key.default), key.name


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_there_with_its_keys(name, groups_page):
    found, (group, _, file) = option(name), name.partition("/")
    assert found.about.strip(), f"conf/{name}.yaml opens with no comment"
    section = groups_page.split(f"#### {group}={file} {{")[1].split("\n#### ")[0].split("\n## ")[0]
    for key in found.keys:
        assert f"| `{key.name}` |" in section
        assert key.meaning, f"conf/{name}.yaml: {key.name} says nowhere what it is; write a comment there"
    if group == "experiment":  # shown as it is
        assert found.body.strip() in section
        return
    program = next(p for p in PROGRAMS if group in {*reference.chosen(p), *(["engine"] if p == "collect" else [])})
    program = {"data/same": "evaluate", "reward_model/only": "train", "pool/all": "train"}.get(name, program)
    needed = [f"{key.name}={GIVEN[key.name]}" for key in found.keys if key.default == "???"]
    unsaid = [f"{key.name}={shown(key.default)}" for key in found.keys if key.name.startswith("+")]
    composed = compose(program, [*required(program), f"{group}={file}", *needed, *unsaid])
    documented = {key.name.lstrip("+") for key in found.keys}
    lists = tuple(f"{key.name}." for key in found.keys if isinstance(key.default, dict))
    made_of = {"router": ("candidates", "parts"), "backbone": ("part", "encoder")}.get(group, ())
    filled = tuple(f"{group}.{part}." for part in made_of)  # by a defaults list, but for what the file itself says
    there = {n for n in leaves({group: composed[group]}) if not n.startswith(lists)}
    assert {n for n in there if n in documented or not n.startswith(filled)} == documented


def shown(value) -> str:
    """A default in Hydra's grammar."""
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{shown(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


def test_every_field_of_every_schema_is_described(groups_page):
    """The nodes that stand in lists or options, not in a program's own keys."""
    for key in [key for group in hooks.PARTS for key in reference.part_keys(group)]:
        assert key.meaning, f"{key.name} says nowhere what it is; write a comment behind it in conf/pool/*.yaml"
    nodes = reference.SCHEMAS
    for prefix, model in [*nodes.items(), *reference.PARTS.items()]:
        for field, info in model.model_fields.items():
            name = re.escape(f"{prefix}.{info.alias or field}")
            assert re.search(rf"\| `\+?{name}[.`]", groups_page), f"{prefix}.{field} of the schema is missing"
    known = {*nodes.values(), *reference.PARTS.values(), *PROGRAMS.values()}
    assert {m for m in _schemas(BaseModel) if m.__module__.startswith("erp.config")} - known <= _inner(known)


def _schemas(base: type) -> set[type]:
    return {base, *(model for sub in base.__subclasses__() for model in _schemas(sub))}


def _inner(known: set[type]) -> set[type]:
    """Nodes that lie in others, whose keys the reference shows there, and what has no keys of its own."""
    names = {"Numbers", "Node", "_OfARun", "RewardModel"}  # three bases; `reward_model=only` shows the last
    inner = {m for model in known for field in model.model_fields.values() for m in _schemas(BaseModel)
             if field.annotation is m}  # fmt: skip
    return inner | {m for m in _schemas(BaseModel) if m.__name__ in names}


def test_comments_are_read_from_behind_a_key_and_from_above_it(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("# head\n# of it\na: 1  # one\n# two\n# lines\nb:\n  c: 'x # y'  # three\nd: [1, 2]  # four\n"
                    "e:  # five\n  - f: 2  # six\ng: '#'\n")  # fmt: skip
    assert reference.comments(file) == {
        "a": "one", "b": "two lines", "b.c": "three", "d": "four", "e": "five", "e[].f": "six",
    }  # fmt: skip
