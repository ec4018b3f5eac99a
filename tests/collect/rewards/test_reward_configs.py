"""Every shipped reward model: its option builds, names a model, and nothing is downloaded for it."""

import pytest
import yaml

from erp.build import build
from erp.collect.rewards.base import RewardAdapter
from erp.collect.rewards.local import LocalRewardModel
from erp.collect.score import Scorer, adapter_node
from erp.collect.units import Blocks
from erp.compose import conf_folder
from erp.config import RewardModel

FILES = sorted((conf_folder() / "reward_model").glob("*.yaml"))
NODES = {file.stem: yaml.safe_load(file.read_text()) for file in FILES}
BUILT = {stem: node for stem, node in NODES.items() if "_target_" in node}


def local(stem):
    model = build(adapter_node(BUILT[stem]), RewardAdapter, key="reward_model")
    return model if isinstance(model, LocalRewardModel) else None


@pytest.fixture(autouse=True)
def _nothing_is_loaded(monkeypatch):
    monkeypatch.setattr("erp.collect.rewards.local.find_weights", None)


@pytest.mark.parametrize("stem", BUILT)
def test_an_option_builds(stem):
    model = build(adapter_node(BUILT[stem]), RewardAdapter, key="reward_model")
    assert not model.counts


def test_learning_reads_the_name_alone():
    for node in NODES.values():
        assert RewardModel.model_validate(node) == RewardModel(name=node["name"])


def test_the_models_of_the_method_page_are_there():
    models = [model.model for model in map(local, BUILT) if model]
    assert len(models) == len(set(models)) >= 33
    sizes = {f"Skywork/Skywork-Reward-V2-Qwen3-{size}" for size in ("0.6B", "1.7B", "4B", "8B")}
    paper = {"OpenAssistant/reward-model-deberta-v3-large-v2", "Ray2333/GRM-Gemma-2B-rewardmodel-ft"}
    paper |= {f"internlm/internlm2-{size}-reward" for size in ("1_8b", "7b", "20b")}
    assert sizes | paper <= set(models)


def test_what_a_card_warns_of_is_in_the_manifest():
    about = {
        stem: Scorer("table", node, [], Blocks(1, ()), None).about()
        for stem, node in BUILT.items()
        if "skywork" in stem or "nemo" in stem
    }
    assert "different prompts cannot be compared" in about.pop("nemotron_qwen3_32b")["note"]
    assert not [stem for stem, said in about.items() if "note" in said]


def test_costs_say_that_lower_is_better():
    higher = {
        stem: Scorer("table", node, [], Blocks(1, ()), None).about()["higher_is_better"] for stem, node in BUILT.items()
    }
    assert [stem for stem, said in higher.items() if not said] == ["beaver_cost"]


def test_labels_differ_and_can_name_a_folder():
    labels = [node["name"] for node in BUILT.values()]
    assert len(set(labels)) == len(labels)
    assert not [label for label in labels if "/" in label or label.startswith(".")]


def test_the_first_line_says_what_it_is():
    for file in FILES:
        first = file.read_text().splitlines()[0]
        assert first.startswith("# "), file.name
        if (model := NODES[file.stem].get("model")) and file.stem in BUILT and local(file.stem):
            assert first.startswith(f"# {model}: "), file.name


def test_only_models_that_bring_code_may_run_it_and_show_where_to_pin_it():
    brings = {stem for stem in BUILT if (model := local(stem)) and model.brings_code}
    assert {"internlm2_1_8b", "internlm2_7b", "internlm2_20b", "armorm"} == brings
    for stem, node in BUILT.items():
        assert node.get("trust_remote_code", False) is (stem in brings)
        assert stem not in brings or "revision" in node


def test_soft_capped_models_do_not_run_with_sdpa():
    capped = {stem for stem in BUILT if "gemma2" in stem}
    assert len(capped) == 4
    assert all(local(stem).attention == "eager" for stem in capped)
