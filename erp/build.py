"""From a config node with a ``_target_`` to an object: signature checked, class checked, then called."""

from __future__ import annotations

import importlib
import inspect
import keyword
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from erp.config import faults_of
from erp.config.nodes import Numbers
from erp.errors import ErpError
from erp.formats.renamed import TARGETS

T = TypeVar("T")
LABEL = "name"  # how a plug point's choice is called in tables and dashboards; not an argument


def build(node: Mapping[str, Any], expect: type[T], *, key: str, trust: bool = True) -> T:
    """Build the object a plug-point node describes. Arguments of the same class are built first.

    Args:
        node: ``{_target_: dotted.path.Class, name: label, argument: value, ...}``.
        expect: the class the result must be an instance of.
        key: where the node stands in the config, for error lines.
        trust: whether targets outside ``erp.`` may be imported. A run folder that somebody sent is loaded without.

    Raises:
        ErpError: unknown target, unknown or ill-typed arguments (all of them, one line each), or another class.
    """
    target = _class_of(node, expect, key, trust)
    checked, _ = _checked_arguments(target, node, key, expect, trust)
    built: T = target(**{name: getattr(checked, name) for name in type(checked).model_fields})
    return built


def as_built(node: Mapping[str, Any], expect: type[Any], *, key: str, trust: bool = True) -> dict[str, Any]:
    """The node as the object gets it: types settled (0 where a float goes is 0.0), defaults spelled out.

    Nodes that build the same object are equal afterwards. Faults are those of `build`.
    """

    def part(value: Mapping[str, Any], place: str) -> Any:
        return as_built(value, expect, key=place, trust=trust)

    checked, holds = _checked_arguments(_class_of(node, expect, key, trust), node, key, expect, trust)
    found = {name: value for name, value in node.items() if name in ("_target_", LABEL)}
    of_parts = {name for name, field in type(checked).model_fields.items() if field.alias in holds}
    found |= checked.model_dump(mode="json", by_alias=True, exclude=of_parts)
    return found | {name: _with_parts(node.get(name), f"{key}.{name}", part) for name in sorted(holds)}


def _class_of(node: Mapping[str, Any], expect: type[Any], key: str, trust: bool) -> Any:
    target = _import_target(node, key, trust)
    if not (inspect.isclass(target) and issubclass(target, expect)):
        raise ErpError(
            f"{key}._target_ = {node['_target_']}: is no {expect.__name__}; give a subclass of "
            f"{expect.__module__}.{expect.__name__}"
        )
    return target


def path_of(node: Mapping[str, Any], key: str, trust: bool = True) -> str:
    """The dotted path of a node's class, of which nothing is imported. Arguments and faults are those of `build`."""
    path = node.get("_target_")
    if not isinstance(path, str) or "." not in path:
        raise ErpError(f"{key}._target_ = {path}: no dotted path of a class; choose {key}=<option>, see --help")
    if path in TARGETS:
        raise ErpError(f"{key}._target_ = {path}: is {TARGETS[path]} now; give that")
    if not trust and not path.startswith("erp."):
        raise ErpError(
            f"{key}._target_ = {path}: code outside erp is not run for a loaded folder; "
            f"read it, then say trust=true if you trust it"
        )
    return path


def _import_target(node: Mapping[str, Any], key: str, trust: bool) -> Any:
    path = path_of(node, key, trust)
    module, _, name = path.rpartition(".")
    try:
        target = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is not None and not path.startswith(error.name):
            raise ErpError(f"{key}._target_ = {path}: needs the package {error.name}; install it") from None
        raise ErpError(
            f"{key}._target_ = {path}: there is no module {module}; "
            f"check the path's spelling, install the package it is in, or put its folder on PYTHONPATH"
        ) from None
    except AttributeError:
        raise ErpError(f"{key}._target_ = {path}: {module} has no {name}; check the path's spelling") from None
    if not trust and not str(getattr(target, "__module__", "")).startswith(
        "erp."
    ):  # what one of our modules imports is not ours
        raise ErpError(f"{key}._target_ = {path}: is no class of erp; train the run again")
    return target


class _Arguments(Numbers):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, ser_json_inf_nan="constants")


def _checked_arguments(
    target: Any, node: Mapping[str, Any], key: str, expect: type[Any], trust: bool
) -> tuple[BaseModel, set[str]]:
    """The node's arguments, validated against the constructor's annotations by a pydantic model made from them.

    Returns:
        The model, and the names of the arguments that hold nodes of the same class, which are built.
    """

    def part(value: Mapping[str, Any], place: str) -> Any:
        return build(value, expect, key=place, trust=trust)

    found = _model_of(target)
    if found is None:
        raise ErpError(f"{key}._target_ = {node['_target_']}: takes *args or **kwargs; name its arguments")
    model, hints = found
    # A router of routers gets them built; a node that an argument takes as it is stays one.
    holds = {plain_name(name) for name, hint in hints.items() if _names(hint, expect)}
    given = {
        name: _with_parts(value, f"{key}.{name}", part) if name in holds else value
        for name, value in node.items()
        if name not in ("_target_", LABEL)
    }
    try:
        checked = model.model_validate(given)
    except ValidationError as error:
        raise ErpError(*faults_of(error, model, given, prefix=key)) from None
    return checked, holds


@lru_cache(maxsize=256)
def _model_of(target: Any) -> tuple[type[BaseModel], dict[str, Any]] | None:
    """A model of a constructor's arguments, and their type hints; None where they have no names."""
    function = target.__init__ if inspect.isclass(target) else target
    hints = get_type_hints(function)
    fields: dict[str, Any] = {}
    parameters = list(inspect.signature(function).parameters.values())[inspect.isclass(target) :]
    if function is object.__init__:  # shows *args, takes nothing: a class without a constructor of its own
        parameters = []
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            return None
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), Field(default, alias=plain_name(parameter.name)))
    return create_model("Arguments", __base__=_Arguments, **fields), hints


def _names(hint: Any, expect: type[Any]) -> bool:
    """Whether a type hint is ``expect``, or a container of it."""
    return hint is expect or any(_names(part, expect) for part in get_args(hint))


def _with_parts(value: Any, key: str, part: Callable[[Mapping[str, Any], str], Any]) -> Any:
    """The value with ``part`` of every node in it that has a ``_target_``: routers within routers."""
    if isinstance(value, Mapping) and "_target_" in value:
        return part(value, key)
    if isinstance(value, Mapping):
        return {name: _with_parts(item, f"{key}.{name}", part) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_parts(item, f"{key}.{i}", part) for i, item in enumerate(value)]
    return value


def plain_name(argument: str) -> str:
    """The config's name of an argument: ``lambda`` for ``lambda_``, which Python keeps for itself."""
    bare = argument.rstrip("_")
    return bare if keyword.iskeyword(bare) else argument
