"""From a config node to an object: what is checked before anything is called."""

import sys
from typing import Literal

import pytest

from erp.build import build, plain_name
from erp.decisions.policy import LambdaPolicy
from erp.errors import ErpError


class Base:
    """What a plug point expects."""


class Plug(Base):
    def __init__(self, size: int, rate: float = 0.5, mode: Literal["fast", "exact"] = "fast", name_: str = "x"):
        self.arguments = (size, rate, mode, name_)


class Keyword(Base):
    def __init__(self, lambda_: float = 0.0, class_: str = "c"):
        self.arguments = (lambda_, class_)


class Silent(Base):
    """No constructor of its own."""


class Star(Base):
    def __init__(self, *sizes: int):
        raise AssertionError("is never called")


class DoubleStar(Base):
    def __init__(self, size: int = 1, **options: int):
        raise AssertionError("is never called")


class Stranger:
    def __init__(self):
        raise AssertionError("is never called")


def function(size: int) -> Plug:
    return Plug(size)


@pytest.fixture(autouse=True)
def module(monkeypatch):
    """This file, importable by the name the nodes use: the tests' import mode gives it none."""
    monkeypatch.setitem(sys.modules, "plugs_of_the_test", sys.modules[__name__])


def node(target, **arguments):
    return {"_target_": f"plugs_of_the_test.{target}", "name": "label", **arguments}


def faults(node, **options):
    with pytest.raises(ErpError) as refused:
        build(node, Base, key="router", **options)
    assert not any("\n" in fault for fault in refused.value.faults)
    return list(refused.value.faults)


def test_arguments_are_passed_and_defaults_kept():
    assert build(node("Plug", size=3, mode="exact"), Base, key="router").arguments == (3, 0.5, "exact", "x")


def test_the_label_is_no_argument():
    assert isinstance(build(node("Silent"), Base, key="router"), Silent)


def test_unknown_argument_with_the_near_spelling():
    (fault,) = faults(node("Plug", size=3, raet=1.0))
    assert fault.startswith("router.raet = 1.0: there is no such key; did you mean rate?")
    assert all(word in fault for word in ("size", "rate", "mode"))


def test_wrong_type():
    (fault,) = faults(node("Plug", size="many"))
    assert fault.startswith("router.size = many: ")
    assert "integer" in fault


def test_a_value_outside_the_literal_lists_what_is_allowed():
    (fault,) = faults(node("Plug", size=1, mode="slow"))
    assert fault == "router.mode = slow: input should be 'fast' or 'exact'"


def test_missing_argument():
    assert faults(node("Plug")) == ["router.size: is required; give router.size=<value>"]


def test_every_fault_of_the_arguments_is_named():
    lines = faults(node("Plug", rate="x", mode="slow", typo=1))
    assert [line.split(" = ")[0].split(":")[0] for line in lines] == [
        "router.size",
        "router.rate",
        "router.mode",
        "router.typo",
    ]


@pytest.mark.parametrize("target", ["Stranger", "function"])
def test_only_subclasses_of_what_is_expected_are_called(target):
    (fault,) = faults(node(target, **({"size": 1} if target == "function" else {})))
    assert fault.startswith(f"router._target_ = plugs_of_the_test.{target}: is no Base")
    assert f"{Base.__module__}.Base" in fault


@pytest.mark.parametrize("target", ["Star", "DoubleStar"])
def test_star_arguments_are_refused(target):
    (fault,) = faults(node(target, size=1))
    assert "*args or **kwargs" in fault


def test_missing_module():
    assert faults({"_target_": "erp.routers.rigde.Ridge"}) == [
        "router._target_ = erp.routers.rigde.Ridge: there is no module erp.routers.rigde; "
        "check the path's spelling, install the package it is in, or put its folder on PYTHONPATH"
    ]


def test_missing_class():
    assert faults({"_target_": "erp.routers.ridge.Rigde"}) == [
        "router._target_ = erp.routers.ridge.Rigde: erp.routers.ridge has no Rigde; check the path's spelling"
    ]


def test_a_module_that_lacks_a_package_names_the_package(tmp_path, monkeypatch):
    (tmp_path / "needs_something.py").write_text("import a_package_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    (fault,) = faults({"_target_": "needs_something.Router"})
    assert "needs the package a_package_nobody_has; install it" in fault


@pytest.mark.parametrize("target", [None, "Ridge", 3])
def test_a_target_that_is_no_dotted_path(target):
    (fault,) = faults({"_target_": target})
    assert fault.startswith(f"router._target_ = {target}: no dotted path")


def test_without_trust_foreign_code_is_not_even_imported(tmp_path, monkeypatch):
    (tmp_path / "foreign_code.py").write_text("class Router: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    for target in ("foreign_code.Router", "erpfake.Router", "os.path.join"):
        (fault,) = faults({"_target_": target}, trust=False)
        assert target in fault
        assert "trust=true" in fault
    assert "foreign_code" not in sys.modules
    (fault,) = faults({"_target_": "foreign_code.Router"})
    assert "is no Base" in fault
    assert sys.modules.pop("foreign_code")


def test_without_trust_the_package_s_own_classes_are_built():
    policy = build({"_target_": "erp.decisions.policy.LambdaPolicy"}, LambdaPolicy, key="policy", trust=False)
    assert policy.lambda_ == 0


def test_keywords_of_python_are_written_without_the_underscore():
    assert build(node("Keyword", **{"lambda": 2, "class": "d"}), Base, key="policy").arguments == (2.0, "d")
    assert [plain_name(name) for name in ("lambda_", "lambda", "name_", "size")] == [
        "lambda",
        "lambda",
        "name_",
        "size",
    ]
    with pytest.raises(ErpError, match=r"policy\.lambda = x"):
        build(node("Keyword", **{"lambda": "x"}), Base, key="policy")
    with pytest.raises(ErpError, match=r"policy.lambda_ = 1: there is no such key; did you mean lambda\?"):
        build(node("Keyword", lambda_=1), Base, key="policy")


def test_a_router_needs_no_constructor_of_its_own():
    from erp.routers.base import Router

    class Plain(Router):
        closed_form = True

    sys.modules[__name__].Plain = Plain
    assert isinstance(build(node("Plain"), Router, key="router"), Plain)


@pytest.mark.parametrize("target", ["erp.runs.NOT_IDENTITY", "erp.routers.ridge.np", "erp.build.build"])
@pytest.mark.parametrize("trust", [True, False])
def test_what_is_no_class_is_one_line_not_a_traceback(target, trust):
    from erp.routers.base import Router

    with pytest.raises(ErpError, match=rf"router\._target_ = {target}: "):
        build({"_target_": target}, Router, key="router", trust=trust)
