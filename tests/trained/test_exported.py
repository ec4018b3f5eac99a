"""A router that is shared: what is read is what was written, bit for bit, and whatever was changed since is refused."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from erp.files import sha256_file
from erp.formats.checkpoint import CHECKPOINT
from erp.trained.checkpoint import load_bundle, save_bundle
from erp.trained.exported import CONFIG, TENSORS, read_exported, write_exported
from erp.trained.router import load
from tests.trained.refused import fault
from tests.training.tables import RIDGE, finished_run, routing_data

ROUTERS = {
    "ridge": RIDGE,
    "knn": {"name": "knn", "_target_": "erp.routers.knn.KNN", "k": 5},
    "category_mean": {"name": "category_mean", "_target_": "erp.routers.category_mean.CategoryMean"},
    "mlp": {"name": "mlp", "_target_": "erp.routers.mlp.MLP"},
}
PROMPTS = ["prove the triangle theorem", "debug the parser loop", "", "naïve café", "a poem on arrays"]


@pytest.fixture(scope="module")
def data():
    return routing_data()


@pytest.fixture
def shared(data, tmp_path):
    """An exported ridge."""
    finished_run(data, RIDGE, tmp_path / "run")
    save_bundle(load_bundle(tmp_path / "run" / "checkpoint.ckpt"), tmp_path / "shared" / TENSORS)
    return tmp_path / "shared"


def edited(folder, change):
    """The folder with another config."""
    config = json.loads((folder / CONFIG).read_text())
    change(config)
    (folder / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize("router", ROUTERS)
def test_the_state_and_the_choices_are_the_run_s_bit_for_bit(data, router, tmp_path):
    finished_run(data, ROUTERS[router], tmp_path)
    run = load(tmp_path)
    save_bundle(run.bundle, tmp_path / "shared" / TENSORS)
    other = load(tmp_path / "shared")
    assert other.card == run.card
    before, after = run.bundle.state_dict(), load_bundle(tmp_path / "shared" / TENSORS).state_dict()
    assert set(before) == set(after)
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        np.testing.assert_array_equal(after[name].numpy(), tensor.numpy(), err_msg=name)
    category = [None, "math", "never seen", None, "math"]
    for lambda_ in (None, 0.05, math.inf):
        expected, found = (each.decide(PROMPTS, category, lambda_) for each in (run, other))
        np.testing.assert_array_equal(found.scores, expected.scores)
        np.testing.assert_array_equal(found.costs, expected.costs)
        np.testing.assert_array_equal(found.chosen, expected.chosen)


def test_what_json_has_no_word_for_comes_back(tmp_path):
    twice = torch.arange(6.0).reshape(2, 3)
    card = {
        "policy": {"lambda": math.inf, "floor": -math.inf, "names": ["a", None, True, 3, 0.1 + 0.2]},
        "backbone_state": {"0": {"idf": torch.tensor([0.1, math.nan], dtype=torch.float64), "terms": ["é", "$tensor"]}},
        "parts": [twice.T, {}],
    }
    state = {"a": twice, "b": twice, "none": torch.zeros(0, 4), "flag": torch.tensor(True), "n": torch.tensor(5)}
    write_exported({"format": 1, "card": card, "state_dict": state}, tmp_path / TENSORS)
    found = read_exported(tmp_path / TENSORS, load_file)
    assert found["format"] == 1
    assert found["card"]["policy"] == card["policy"]
    assert found["card"]["backbone_state"]["0"]["terms"] == ["é", "$tensor"]
    idf = found["card"]["backbone_state"]["0"]["idf"]
    assert idf.dtype == torch.float64
    np.testing.assert_array_equal(idf, card["backbone_state"]["0"]["idf"])
    np.testing.assert_array_equal(found["card"]["parts"][0], twice.T)
    assert set(found["state_dict"]) == set(state)
    for name, tensor in state.items():
        assert found["state_dict"][name].dtype == tensor.dtype
        np.testing.assert_array_equal(found["state_dict"][name], tensor)


def test_an_older_form_is_read_as_a_checkpoint_s_is(shared):
    def older(config):
        del config["format"], config["card"]["prompt_from"]

    expected = load(shared).decide(PROMPTS)
    edited(shared, older)
    np.testing.assert_array_equal(load(shared).decide(PROMPTS).scores, expected.scores)


def test_a_newer_form_is_refused(shared):
    edited(shared, lambda config: config.update(format=CHECKPOINT.number + 1))
    assert f"made by a newer erp (format {CHECKPOINT.number + 1}" in fault(shared)


@pytest.mark.parametrize("place", [0, 8, 40, -1])
def test_tensors_of_which_one_byte_is_another_are_refused(shared, place):
    content = bytearray((shared / TENSORS).read_bytes())
    content[place] ^= 1
    (shared / TENSORS).write_bytes(content)
    line = fault(shared)
    assert line.startswith(f"checkpoint = {shared / TENSORS}: cannot be read (")
    assert "sha256 differs" in line


@pytest.mark.parametrize(
    "tamper",
    [
        lambda tensors: tensors.write_bytes(b""),
        lambda tensors: tensors.write_bytes(tensors.read_bytes()[:200]),
        lambda tensors: tensors.write_bytes(b"\xff" * 8 + b"{}"),
        lambda tensors: torch.save({"state_dict": {}}, tensors),
        lambda tensors: save_file({"router.weight": torch.zeros(2)}, tensors),
        lambda tensors: save_file({**load_file(tensors), "router.more": torch.zeros(2)}, tensors),
        lambda tensors: save_file({**load_file(tensors), "train_mean_cost": torch.zeros(7)}, tensors),
    ],
)
def test_tensors_that_do_not_fit_are_refused_though_the_hash_does(shared, tamper):
    tamper(shared / TENSORS)
    edited(shared, lambda config: config.update(sha256=sha256_file(shared / TENSORS)))
    assert "cannot be read" in fault(shared)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 1, "format', '{"format": 1, "card": NaN}', "[" * 5000, '{"format": true}'],
    ids=range(7),
)
def test_a_config_that_is_none_is_refused(shared, text):
    (shared / CONFIG).write_text(text)
    fault(shared)
    (shared / CONFIG).unlink()
    assert "cannot be read" in fault(shared)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "cannot be read (card.members"),
        ({"$tensor": "nowhere"}, "cannot be read"),
        ({"$tensor": ["router.weight"]}, "cannot be read"),
        ({"$number": "two"}, "cannot be read"),
        ({"$number": None}, "cannot be read"),
    ],
    ids=repr,
)
def test_a_card_of_other_values_is_refused(shared, value, words):
    edited(shared, lambda config: config["card"].update(members=value))
    assert words in fault(shared)


@pytest.mark.parametrize("key", ["router", "backbone", "policy"])
def test_no_class_of_somebody_else_is_built(shared, key, monkeypatch):
    edited(shared, lambda config: config["card"][key].update(_target_="antigravity.Router"))
    assert f"{key}._target_ = antigravity.Router: code outside erp is not run for a loaded folder" in fault(shared)
    edited(shared, lambda config: config["card"][key].update(_target_="erp.files.Path"))
    assert f"{key}._target_ = erp.files.Path: is no class of erp" in fault(shared)
    edited(shared, lambda config: config["card"][key].update(name="${oc.env:HOME}"))
    assert "nothing is looked up" in fault(shared)


def test_a_class_of_somebody_else_is_built_where_it_is_trusted(data, tmp_path):
    finished_run(data, {"name": "linear", "_target_": "tests.training.linear.Linear"}, tmp_path)
    run = load(tmp_path, trust=True)
    save_bundle(run.bundle, tmp_path / "shared" / TENSORS)
    assert "code outside erp is not run" in fault(tmp_path / "shared")
    np.testing.assert_array_equal(
        load(tmp_path / "shared", trust=True).decide(PROMPTS).scores, run.decide(PROMPTS).scores
    )
