"""Validation errors as lines a user can act on: key = value; what is allowed; what to do."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from erp.errors import shorten
from erp.formats.renamed import KEYS


def faults_of(error: ValidationError, model: type[BaseModel], given: Any, prefix: str = "") -> list[str]:
    """Each fault as ``key = value: what is allowed; what to do``."""
    lines = []
    for fault in error.errors():
        loc = fault["loc"]
        key = ".".join([*([prefix] if prefix else []), *map(str, loc)])
        value = fault["input"]
        if key in KEYS:
            lines.append(f"{key} = {value}: there is no such key any more; {KEYS[key]}")
        elif fault["type"] == "extra_forbidden":
            lines.append(f"{key} = {value}: there is no such key; {_known_keys(model, given, loc)}")
        elif fault["type"] == "model_type":
            lines.append(f"{key} = {value}: is a group of keys; {_known_keys(model, given, (*loc, ''))}")
        elif fault["type"] == "missing" or value == "???":
            lines.append(f"{key}: is required; give {key}=<value>")
        else:
            message = (fault["msg"][0].lower() + fault["msg"][1:]).removeprefix("value error, ")
            of_several = fault["type"] == "value_error" and isinstance(value, Mapping)  # it names those it is about
            lines.append(message if not loc else f"{key}: {message}" if of_several else f"{key} = {value}: {message}")
    return lines


def _known_keys(model: type[BaseModel], given: Any, loc: tuple[int | str, ...]) -> str:
    """What could have stood where an unknown key stands, the nearest spelling first."""
    current: type[BaseModel] | None = model
    node = given
    for step in loc[:-1]:
        node = node.get(step) if isinstance(node, Mapping) else node[step] if isinstance(step, int) else None
        if current is not None and isinstance(step, str):
            current = _model_in(current.model_fields[step].annotation) if step in current.model_fields else None
    if current is None:
        return "see --help"
    names = [field.alias or name for name, field in current.model_fields.items()]
    near = difflib.get_close_matches(str(loc[-1]), names, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"known here: {shorten(names, 20)}"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The node model inside an annotation: itself, or the one in an optional or a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, list, Annotated):
        found = (_model_in(argument) for argument in get_args(annotation))
        return next((model for model in found if model is not None), None)
    return None
