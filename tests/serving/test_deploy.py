"""The files of `deploy/`: what they name exists, and what watches a gateway asks for what it tells."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tomllib
import types

import pytest
import yaml
from packaging.requirements import Requirement

from erp.config.serve import Gateway, ServeConfig
from erp.serving.opening import opened
from tests.docs.pages import ROOT
from tests.serving.conftest import app_of
from tests.serving.servers import Served

DEPLOY = ROOT / "deploy"
PROMPT = "prove the triangle theorem"


def test_the_image_is_made_of_files_that_are_there_and_runs_as_nobody():
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.split(None, 1) for line in lines if line.strip() and not line.startswith("#")]
    copied = [words.split() for step, words in steps if step == "COPY"]
    for *sources, _ in (words for words in copied if not words[0].startswith("--from")):
        assert all((ROOT / source).exists() for source in sources)
    last = [step for step, _ in steps[[i for i, (step, _) in enumerate(steps) if step == "FROM"][-1] :]]
    assert {"USER", "HEALTHCHECK"} <= set(last)
    assert last.index("USER") < last.index("ENTRYPOINT")
    installs = [words for step, words in steps if step == "RUN" and "pip install" in words]
    assert all(words.count("pip install") == words.count("-c constraints.txt") for words in installs)


def test_the_light_image_has_the_bounds_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    bounds = {one.name: one.specifier for one in map(Requirement, told)}
    pinned = {Requirement(line).name for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"}
    lines = [line for line in (DEPLOY / "light.txt").read_text().splitlines() if line and line[0] != "#"]
    light = {one.name: one.specifier for one in map(Requirement, lines)}
    assert light == {name: bounds.get(name, light[name]) for name in light}
    assert light.keys() <= pinned
    assert "torch" not in light


def test_the_composed_gateway_is_one_and_its_models_are_services():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    words = services["gateway"]["command"]
    assert words[1:] == ["--config-dir", "/srv", "gateway=compose"]
    gateway = Gateway.model_validate(yaml.safe_load((DEPLOY / "gateway" / "compose.yaml").read_text()))
    hosts = {re.fullmatch(r"http://(\w+):8080/v1", node.base_url)[1] for node in gateway.members}
    assert hosts == {name for name, node in services.items() if "llama.cpp" in node.get("image", "")}
    for node in services.values():
        assert re.search(r":[\w.-]*\d", node.get("image", ":1"))  # a version, not a tag that moves
        mounted = [one.split(":")[0] for one in node.get("volumes", []) if one.startswith("./")]
        assert all((DEPLOY / one).exists() for one in mounted if one not in ("./router", "./models"))


def test_the_dashboard_asks_for_what_metrics_tell(run_folder, trained):
    members = [{"name": name, "base_url": "http://127.0.0.1:9/v1"} for name in trained.members]
    app = opened(ServeConfig.model_validate({"run": str(run_folder), "gateway": {"members": members}}))
    told = re.findall(r"^# TYPE (\w+) (\w+)$", app.metrics.text().decode(), re.MULTILINE)
    ends = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
    names = {name + end for name, kind in told for end in ends[kind]}
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    asked = {name for panel in panels for one in panel["targets"] for name in re.findall(r"\berp_\w+", one["expr"])}
    assert asked <= names
    assert {
        name for name, kind in told if kind != "histogram" and not name.endswith("_created")
    } <= asked  # and nothing that is told goes unseen
    asyncio.run(app.upstreams.close())
    app.log.close()
    app.gateway.state.close()
    app.gateway.served.predictor.close()


def test_the_unit_is_one_of_systemd(tmp_path):
    text = (DEPLOY / "erp-serve.service").read_text()
    assert re.search(r"^ExecReload=/bin/kill -HUP \$MAINPID$", text, re.MULTILINE)
    if (systemd := shutil.which("systemd-analyze")) is None:
        pytest.skip("no systemd-analyze on PATH")
    unit = tmp_path / "erp-serve.service"
    unit.write_text(text.replace("/opt/erp/venv/bin/erp", sys.executable))
    found = subprocess.run([systemd, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_litellm_s_callback_takes_the_gateway_s_decision(gateway, ask, trained, monkeypatch):
    pytest.importorskip("httpx")
    logger = types.ModuleType("litellm.integrations.custom_logger")
    logger.CustomLogger = object
    for name in ("litellm", "litellm.integrations"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, logger.__name__, logger)
    served = gateway(policies=["lambda"])
    chat = {"model": "erp/auto", "messages": [{"role": "user", "content": PROMPT}], "litellm_call_id": object()}

    def hooked(body):
        code = (DEPLOY / "litellm_callback.py").read_text()
        space = {"__name__": "litellm_callback"}
        exec(compile(code, "litellm_callback.py", "exec"), space)

        async def once():
            found = await space["router"].async_pre_call_hook(None, None, dict(body), "acompletion")
            await space["router"].gateway.aclose()
            return found

        return asyncio.run(once())

    with Served(app_of(served)) as at:
        monkeypatch.setenv("ERP_URL", at.url)
        for wish, lambda_ in (({}, None), ({"x-erp-lambda": "inf"}, float("inf"))):
            assert hooked({**chat, **wish}) == {**chat, "model": trained.route([PROMPT], lambda_)["member"][0]}
        assert hooked({**chat, "model": "other"})["model"] == "other"
    monkeypatch.setenv("ERP_DEFAULT", "spare")
    assert hooked(chat)["model"] == "spare"
