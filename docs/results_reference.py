"""The tables of metrics.md and the JSON schema, made from the tree in ``erp/results``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from erp.formats.form import NUMBER
from erp.formats.results import RESULTS
from erp.results import Results
from erp.results.base import Section

PAGE = Path(__file__).parent / "metrics.md"
MARK = re.compile(r"(<!-- keys of ([\w ]+), from erp/results -->\n)(?:\|.*\n)*")
HEAD = "| key | what it is | unit, range, better | null when |\n|---|---|---|---|\n"
NAMED = {
    "{category_mean,category_mean_predicted,sample_all,cascade,random,best_single,best_single_hindsight,oracle,router}":
    "<row>",
    "{lambda_0,policy,most_reward,same_reward}": "<point>",
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What the tree says of a key."""

    what: str
    unit: str
    null: str

    @classmethod
    def of(cls, field: FieldInfo) -> Told:
        """Of a field that ``erp.results.base.told`` made."""
        more = field.json_schema_extra
        assert isinstance(more, dict), field
        return cls(field.description or "", str(more["unit"]), str(more["null_when"]))


def leaves(
    model: type[Section], path: tuple[str, ...] = (), outer: Told | None = None
) -> Iterator[tuple[tuple[str, ...], Told]]:
    """Every key that holds a value, with what is said of it; a part that says nothing is told by what holds it."""
    hints = get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        told = outer if field.description is None else Told.of(field)
        assert told is not None, (model, name)
        yield from _parts(hints[name], (*path, field.alias or name), told)


def _parts(hint: Any, path: tuple[str, ...], told: Told) -> Iterator[tuple[tuple[str, ...], Told]]:
    """The keys under one: through what may be null, lists, and mappings whose keys are names."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Section):
        yield from leaves(hint, path, told)
    elif origin is Annotated:
        yield from _parts(arguments[0], path, told)
    elif origin is dict:
        yield from _parts(arguments[1], (*path, f"<{arguments[0].__metadata__[0]}>"), told)
    elif origin is list and any(_is_section(part) for part in arguments):
        yield from _parts(arguments[0], (*path[:-1], f"{path[-1]}[]"), told)
    elif sections := [part for part in arguments if _is_section(part)]:
        for part in sections:
            yield from _parts(part, path, told)
    else:
        yield path, told


def _is_section(hint: Any) -> bool:
    return (isinstance(hint, type) and issubclass(hint, Section)) or any(map(_is_section, get_args(hint)))


def merged(keys: list[tuple[tuple[str, ...], Told]]) -> list[tuple[tuple[str, ...], Told]]:
    """Keys that differ in one place, and of which the same is said, as one: ``{mean,low,high}``."""
    found = list(dict.fromkeys(keys))
    for back in range(1, 1 + max(len(path) for path, _ in found)):
        groups: dict[Any, list[str]] = {}
        for path, told in found:
            if back <= len(path):
                groups.setdefault((path[:-back], path[len(path) - back + 1 :], told), []).append(path[-back])
        done = []
        for path, told in found:
            if back > len(path):
                done.append((path, told))
                continue
            before, after = path[:-back], path[len(path) - back + 1 :]
            names = [name.strip("{}") for name in groups[before, after, told]]
            one = names[0] if len(names) == 1 else "{" + ",".join(names) + "}"
            done.append(((*before, path[-back] if len(names) == 1 else NAMED.get(one, one), *after), told))
        found = list(dict.fromkeys(done))
    return found


def table(sections: list[str]) -> str:
    """Rows of some keys at the top."""
    keys = [(path, told) for path, told in leaves(Results) if path[0].removesuffix("[]") in sections]
    rows = [f"| `{'.'.join(path)}` | {told.what} | {told.unit} | {told.null} |\n" for path, told in merged(keys)]
    return HEAD + re.sub(" +", " ", "".join(rows))


def page(text: str) -> str:
    """The page with its tables as the tree tells them."""
    return MARK.sub(lambda match: match[1] + table(match[2].split()), text)


def schema() -> dict[str, Any]:
    """The JSON schema of a file as it is written today."""
    found = Results.model_json_schema(by_alias=True)
    number = {NUMBER: {"const": RESULTS.number, "description": "number of this file's form"}}
    return {**found, "properties": {**number, **found["properties"]}, "required": [NUMBER, *found["required"]]}


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
