"""What was saved is what is loaded, and nothing in a folder that somebody sent is run."""

import os

import numpy as np
import pandas as pd
import pytest
import torch

import erp
from erp.backbones.base import normalised
from erp.backbones.hashing import HashingBackbone
from erp.decisions.choice import choose
from erp.errors import ErpError
from erp.trained.checkpoint import load_bundle
from erp.trained.router import TrainedRouter, load
from tests.trained.refused import fault
from tests.training.tables import LINEAR, RIDGE, finished_run, routing_data

CATEGORY = {"name": "category_mean", "_target_": "erp.routers.category_mean.CategoryMean"}
PROMPTS = ["prove the triangle theorem", "debug the parser loop", "", "naïve café", "debug the parser loop"]


@pytest.fixture(scope="module")
def data():
    return routing_data()


@pytest.fixture
def folder(data, tmp_path):
    """A run folder, as far as loading needs it."""
    finished_run(data, RIDGE, tmp_path)
    return tmp_path


def content(folder):
    return torch.load(folder / "checkpoint.ckpt", weights_only=True)


def test_scores_are_the_router_s_on_the_prompts_embeddings(folder):
    found = load(folder).scores(PROMPTS)
    bundle = load_bundle(folder / "checkpoint.ckpt")
    x = normalised(HashingBackbone(64).embed(PROMPTS)).astype(np.float64)
    expected = x @ bundle.router.weight.numpy() + bundle.router.intercept.numpy()
    assert list(found.columns) == list(bundle.card.members)
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("lambda_", [None, 0.0, 0.05, float("inf")])
def test_route_takes_the_best_of_score_minus_lambda_cost(folder, lambda_):
    router = load(folder)
    routed = router.route(PROMPTS, lambda_=lambda_)
    scores = router.scores(PROMPTS)
    costs = router.decide(PROMPTS).costs * 1000  # USD per thousand prompts, which a lambda is a price of
    chosen = choose(scores.to_numpy(), costs, lambda_ or 0.0)  # the run's own policy has lambda 0
    assert list(routed["member"]) == [router.members[m] for m in chosen]
    assert list(routed["prompt"]) == PROMPTS
    rows = np.arange(len(PROMPTS))
    np.testing.assert_array_equal(routed["predicted_reward"], scores.to_numpy()[rows, chosen])
    np.testing.assert_array_equal(routed["predicted_cost"], router.decide(PROMPTS).costs[rows, chosen])


def test_different_lambdas_choose_differently(folder):
    router = load(folder)
    prompts = [f"{a} {b}" for a in ("theorem", "debug", "poem") for b in ("array", "verse", "cube", "dinner")]
    assert set(router.route(prompts)["member"]) != set(router.route(prompts, lambda_=float("inf"))["member"])


def test_no_prompts_are_no_rows(folder):
    router = load(folder)
    assert router.scores([]).shape == (0, 3)
    pd.testing.assert_index_equal(router.route([]).columns, router.route(PROMPTS).columns)


def test_category_of_prompts_counts_where_the_router_reads_it(data, tmp_path):
    finished_run(data, CATEGORY, tmp_path)
    router = load(tmp_path)
    found = router.scores(PROMPTS[:3], category=["math", "never seen", None]).to_numpy()
    rows = data.split.train
    of_math = rows[[data.table.prompts["category"][row] == "math" for row in rows]]
    np.testing.assert_allclose(found[0], data.targets.mean[of_math].mean(axis=0))
    np.testing.assert_allclose(found[1], data.targets.mean[rows].mean(axis=0))
    np.testing.assert_array_equal(found[2], found[1])


def test_the_package_itself_loads(folder):
    assert isinstance(erp.load(str(folder)), TrainedRouter)


def test_no_folder_and_no_checkpoint(tmp_path):
    remedy = "give one that `erp train` printed, or `erp export` wrote"
    nowhere = tmp_path / "nowhere"
    assert fault(nowhere) == f"run = {nowhere}: there is no such folder; {remedy}"
    assert fault(tmp_path) == f"run = {tmp_path}: this is no run folder; {remedy}"
    (tmp_path / "config.yaml").touch()
    assert "the run is not finished" in fault(tmp_path)


@pytest.mark.parametrize("keep", [0, 1, 100, 2000, -200, -1])
def test_a_truncated_file(folder, keep):
    file = folder / "checkpoint.ckpt"
    file.write_bytes(file.read_bytes()[:keep])
    assert f"checkpoint = {file}: cannot be read" in fault(folder)


@pytest.mark.parametrize(
    "text", [b"hello", b"PK\x03\x04" + bytes(100), bytes(50), b"\x80\x05\xff\xff", "é".encode() * 9]
)
def test_a_file_that_is_no_checkpoint(folder, text):
    (folder / "checkpoint.ckpt").write_bytes(text)
    assert "cannot be read" in fault(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: [c],
        lambda c: torch.zeros(3),
        lambda c: c["state_dict"],
        lambda c: {**c, "card": None},
        lambda c: {**c, "card": {**c["card"], "extra": 1}},
        lambda c: {**c, "card": {k: v for k, v in c["card"].items() if k != "members"}},
        lambda c: {**c, "state_dict": 5},
        lambda c: {**c, "state_dict": {}},
        lambda c: {**c, "state_dict": {**c["state_dict"], "router.more": torch.zeros(2)}},
        lambda c: {**c, "state_dict": {**c["state_dict"], "router.weight": "text"}},
        lambda c: {**c, "state_dict": {**c["state_dict"], "train_mean_cost": torch.zeros(7)}},
    ],
)
def test_a_checkpoint_of_something_else(folder, change):
    torch.save(change(content(folder)), folder / "checkpoint.ckpt")
    assert "cannot be read" in fault(folder)


@pytest.mark.parametrize("value", [None, "text", -3.5, [], {}, [None], "gone"], ids=repr)
@pytest.mark.parametrize("key", ["router", "members", "dimension", "reward_model", "cost_kind", "category_block"])
def test_a_card_of_other_types_is_a_line(folder, key, value):
    changed = content(folder)
    changed["card"][key] = value
    if value == "gone":
        del changed["card"][key]
    elif isinstance(value, str) and key in ("reward_model", "cost_kind"):
        pytest.skip("any text is a name")
    elif value == -3.5 and key == "category_block":
        pytest.skip("a number")
    if key == "category_block" and value == "gone":
        pytest.skip("it has a default, which older checkpoints need")
    torch.save(changed, folder / "checkpoint.ckpt")
    assert "cannot be read (" in fault(folder) or "_target_" in fault(folder)


@pytest.mark.parametrize(
    ("key", "value"), [("dimension", 63), ("category_block", 7.0), ("members", ["a", "b"]), ("members", list("abcd"))]
)
def test_a_card_of_another_router_is_a_line(folder, key, value):
    changed = content(folder)
    changed["card"][key] = value
    torch.save(changed, folder / "checkpoint.ckpt")
    assert "cannot be read (" in fault(folder)


def test_a_classifier_of_another_shape_is_a_line(folder):
    changed = content(folder)
    changed["state_dict"]["classifier.weight"] = changed["state_dict"]["classifier.weight"].reshape(-1)[:5]
    torch.save(changed, folder / "checkpoint.ckpt")
    assert "cannot be read (" in fault(folder)


def test_a_backbone_of_other_vectors_is_a_line(folder):
    changed = content(folder)
    changed["card"]["backbone"]["dimensions"] = 65
    torch.save(changed, folder / "checkpoint.ckpt")
    with pytest.raises(ErpError, match="is for vectors of 64 numbers, not of 65"):
        load(folder).scores(PROMPTS)


def test_flipped_bytes_give_one_line_or_a_router(folder):
    file = folder / "checkpoint.ckpt"
    good = file.read_bytes()
    rng = np.random.default_rng(0)
    faults = 0
    for _ in range(150):
        bad = bytearray(good)
        for at in rng.integers(0, 2500, size=4):
            bad[at] = rng.integers(256)
        file.write_bytes(bad)
        try:
            load(folder)
        except ErpError as error:  # anything else fails the test
            faults += "\n" not in str(error)
    assert faults > 50


class Explosive:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_that_would_run_code_does_not(folder, tmp_path, trust, zipped):
    saved = {**content(folder), "callbacks": Explosive(tmp_path / "ran")}
    torch.save(saved, folder / "checkpoint.ckpt", _use_new_zipfile_serialization=zipped)
    assert "cannot be read" in fault(folder, trust=trust)
    assert not (tmp_path / "ran").exists()
    torch.load(folder / "checkpoint.ckpt", weights_only=False)
    assert (tmp_path / "ran").exists()  # or the test could not fail


@pytest.mark.parametrize("key", ["router", "backbone", "policy"])
def test_classes_outside_erp_are_not_imported_without_trust(folder, tmp_path, monkeypatch, key):
    stranger = f"stranger_{key}"
    (tmp_path / f"{stranger}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    saved = content(folder)
    saved["card"][key] = {"_target_": f"{stranger}.Thing"}
    torch.save(saved, folder / "checkpoint.ckpt")
    assert fault(folder).startswith(f"{key}._target_ = {stranger}.Thing: code outside erp is not run")
    assert not (tmp_path / "ran").exists()
    assert f"{stranger} has no Thing" in fault(folder, trust=True)
    assert (tmp_path / "ran").exists()


def test_a_router_of_the_user_s_own_loads_with_trust(data, tmp_path):
    bundle = finished_run(data, LINEAR, tmp_path)
    assert "code outside erp is not run" in fault(tmp_path)
    again = load(tmp_path, trust=True)
    torch.testing.assert_close(again.bundle.router.layer.weight, bundle.router.layer.weight, rtol=0, atol=0)
    assert again.scores(PROMPTS).shape == (5, 3)


def test_a_target_in_erp_that_is_no_router(folder):
    saved = content(folder)
    saved["card"]["router"] = {"_target_": "erp.backbones.hashing.HashingBackbone"}
    torch.save(saved, folder / "checkpoint.ckpt")
    assert "is no Router" in fault(folder)


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ("one prompt", "prompts = 'one prompt': is no list of texts"),
        (None, "prompts = None: is no list of texts"),
        (3, "prompts = 3: is no list of texts"),
        (["a", None, 3], r"prompts: no text at position 1 \(None\), 2 \(3\); give a str"),
        ([["a"]], r"no text at position 0 \(\['a'\]\)"),
        ([b"a"], "no text at position 0"),
    ],
)
def test_prompts_that_are_no_list_of_texts(folder, prompts, words):
    router = load(folder)
    for verb in (router.scores, router.route):
        with pytest.raises(ErpError, match=words) as caught:
            verb(prompts)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("category", ["math", "abcde", 3, [], ["math"], ["math"] * 6])
def test_categories_that_are_not_one_a_prompt(folder, category):
    router = load(folder)
    for verb in (router.scores, router.route):
        with pytest.raises(ErpError, match="5 prompts have one category each; give a list"):
            verb(PROMPTS, category=category)


@pytest.mark.parametrize("form", [tuple, np.array, pd.Series, lambda texts: pd.Series(texts, index=list("vwxyz"))])
def test_any_sequence_of_texts_is_fine(folder, form):
    router = load(folder)
    pd.testing.assert_frame_equal(router.scores(form(PROMPTS), category=form(["a"] * 5)), router.scores(PROMPTS))
    assert list(router.route(form(PROMPTS))["prompt"]) == PROMPTS


def test_a_router_that_reads_the_category_refuses_to_guess_it(data, tmp_path):
    finished_run(data, CATEGORY, tmp_path)
    router = load(tmp_path)
    for verb in (router.scores, router.route):
        with pytest.raises(ErpError, match=r"category: is missing, .* give category="):
            verb(PROMPTS)
        assert len(verb([])) == 0
        assert len(verb(PROMPTS, category=["never seen"] * 5)) == 5
