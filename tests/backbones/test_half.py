"""Vectors kept in 16 bits: half the file, numpy's rounding, the same when it serves, and damage is found as ever."""

import json

import numpy as np
import pytest

from erp import cli, load
from erp.backbones.cache import cached_embeddings, embed_prompts
from erp.backbones.half import HalfBackbone
from erp.backbones.hashing import HashingBackbone
from erp.backbones.tfidf import TfidfBackbone
from tests.backbones.test_cache import only_folder

DIMENSIONS = 32
PROMPTS = [f"{'long ' * (i % 7)}prompt number{i} of {i % 11} and {i % 3}" for i in range(300)]


def half():
    return HalfBackbone(HashingBackbone(DIMENSIONS))


def taken(cache, prompts=PROMPTS):
    embeddings = cached_embeddings(prompts, half(), cache, progress=False)
    return embeddings.take(np.arange(len(prompts)))


def test_rows_are_the_part_s_rounded_and_take_half_the_room(tmp_path):
    whole = embed_prompts(PROMPTS, HashingBackbone(DIMENSIONS))
    vectors = taken(tmp_path)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, whole.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(embed_prompts(PROMPTS, half()), vectors)  # a service gets what was learnt from
    assert (only_folder(tmp_path) / "vectors.f16").stat().st_size == len(PROMPTS) * DIMENSIONS * 2
    cosines, rounded = whole @ whole.T, vectors @ vectors.T
    assert 0 < np.abs(cosines - rounded).max() < 1e-3


def test_damage_is_found_as_in_32_bits(tmp_path, capsys):
    right = taken(tmp_path)
    file = only_folder(tmp_path) / "vectors.f16"
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(content[:-3])
    np.testing.assert_array_equal(taken(tmp_path), right)
    assert "2 of 300 embeddings" in capsys.readouterr().err
    np.testing.assert_array_equal(taken(tmp_path), right)
    assert capsys.readouterr().err == ""


def test_a_part_that_learns_is_taught(tmp_path):
    backbone, alone = HalfBackbone(TfidfBackbone(dimensions=5)), TfidfBackbone(dimensions=5)
    for each in (backbone, alone):
        each.fit(PROMPTS)
    rounded = embed_prompts(PROMPTS, alone).astype(np.float16)
    np.testing.assert_allclose(embed_prompts(PROMPTS, backbone), rounded, rtol=1e-3, atol=1e-6)


def test_a_run_of_half_vectors_predicts_as_one_of_whole_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    common = ["data=synthetic", "data.prompts=300", "bootstrap.draws=200", "figures=false", "tracking=off"]
    common += ["trainer.progress=false", "cache_dir=cache", "router=ridge"]
    found = {}
    for name, node in (("whole", ["backbone=hashing"]), ("half", ["backbone=half", "backbone@backbone.part=hashing"])):
        assert cli.main(["train", *common, *node, f"out={name}"]) == 0, capsys.readouterr().err
        (folder,) = (path for path in (tmp_path / name).iterdir() if path.is_dir())
        results = json.loads((folder / "results.json").read_text())
        found[name] = results["prediction"]["r2_pooled"], load(folder).scores(["what is red"]).to_numpy()
        assert results["run"]["backbone"] == node[0].split("=")[1].replace("half", "half_hashing")
    assert found["half"][0] == pytest.approx(found["whole"][0], abs=1e-3)
    np.testing.assert_allclose(found["half"][1], found["whole"][1], atol=0.01)
