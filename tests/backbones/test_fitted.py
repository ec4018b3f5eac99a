"""A backbone that learns does so once for all runs that need the same, and what is kept is the same to the last bit."""

import json

import numpy as np
import pytest

from erp import cli
from erp.backbones.fitted import fit_once
from erp.backbones.hashing import HashingBackbone
from erp.backbones.joined import JoinedBackbone
from erp.backbones.tfidf import TfidfBackbone
from tests.backbones.test_tfidf import NEW, TRAIN


class Counting(TfidfBackbone):
    """Remembers how often it was fitted."""

    fits = 0

    def fit(self, prompts):
        type(self).fits += 1
        super().fit(prompts)


class Unnamed(Counting):
    def recipe(self):
        return None


@pytest.fixture(autouse=True)
def none_yet(monkeypatch):
    monkeypatch.setattr(Counting, "fits", 0)
    monkeypatch.setattr(Unnamed, "fits", 0)


def learnt(backbone, prompts, cache):
    fit_once(backbone, prompts, cache)
    return backbone


def kept(cache):
    return [file for file in (cache / "fitted").iterdir() if file.suffix != ".lock"]


def test_the_second_takes_up_what_the_first_learnt(tmp_path):
    first, second = learnt(Counting(), TRAIN, tmp_path), learnt(Counting(), TRAIN[::-1], tmp_path)
    assert Counting.fits == 1
    assert first.fingerprint() == second.fingerprint()
    alone = TfidfBackbone()
    alone.fit(TRAIN)
    assert np.array_equal(second.embed(NEW), alone.embed(NEW))


def test_other_prompts_or_settings_are_learnt_anew(tmp_path):
    for backbone, prompts in [
        (Counting(), TRAIN), (Counting(), TRAIN[1:]), (Counting(), [*TRAIN, TRAIN[0]]), (Counting(dimensions=5), TRAIN),
        (Counting(seed=1), TRAIN), (Counting(vocabulary=9), TRAIN), (Counting(ngram_max=2), TRAIN),
    ]:  # fmt: skip
        alone = TfidfBackbone(backbone.dimensions, backbone.ngram_max, backbone.vocabulary, backbone.seed)
        alone.fit(prompts)
        assert np.array_equal(learnt(backbone, prompts, tmp_path).embed(NEW), alone.embed(NEW))
    assert Counting.fits == 7


def test_without_a_recipe_nothing_is_kept(tmp_path):
    for _ in range(2):
        learnt(Unnamed(), TRAIN, tmp_path)
    assert Unnamed.fits == 2
    assert not (tmp_path / "fitted").exists()
    assert fit_once(HashingBackbone(8), TRAIN, tmp_path) == {}
    for parts in ([HashingBackbone(8)], [HashingBackbone(8), Unnamed()]):
        learnt(JoinedBackbone(parts), TRAIN, tmp_path)
    assert not (tmp_path / "fitted").exists()


def test_joined_backbones_learn_once_too(tmp_path):
    made = [learnt(JoinedBackbone([HashingBackbone(8), Counting()]), TRAIN, tmp_path) for _ in range(2)]
    assert Counting.fits == 1
    assert np.array_equal(made[0].embed(NEW), made[1].embed(NEW))


@pytest.mark.parametrize("seed", range(20))
def test_what_is_kept_and_damaged_is_learnt_again_and_said(tmp_path, capsys, seed):
    right = learnt(Counting(), TRAIN, tmp_path).fingerprint()
    (file,) = kept(tmp_path)
    data, random = bytearray(file.read_bytes()), np.random.default_rng(seed)
    at = int(random.integers(len(data)))
    match seed % 4:
        case 0:
            data[at] ^= 1 << random.integers(8)
        case 1:
            del data[at:]
        case 2:
            data[at : at + 100] = b"\x01" * 100
        case _:
            data = bytearray()
    file.write_bytes(data)
    assert learnt(Counting(), TRAIN, tmp_path).fingerprint() == right
    assert Counting.fits == 2
    assert capsys.readouterr().err == f"{file}: was damaged; what it held is learnt again\n"
    learnt(Counting(), TRAIN, tmp_path)
    assert Counting.fits == 2


def test_a_folder_in_place_of_what_was_kept_is_replaced(tmp_path, capsys):
    right = learnt(Counting(), TRAIN, tmp_path).fingerprint()
    (file,) = kept(tmp_path)
    file.unlink()
    file.mkdir()
    (file / "inside").write_text("something")
    assert learnt(Counting(), TRAIN, tmp_path).fingerprint() == right
    assert capsys.readouterr().err == f"{file}: was damaged; what it held is learnt again\n"
    assert file.is_file()


def test_a_sweep_over_routers_learns_tfidf_once(tmp_path, monkeypatch, capsys):
    """Through the command line, with the numbers of runs that learn it each for themselves."""
    fits = []
    fit = TfidfBackbone.fit

    def counted(self, prompts):
        fits.append(len(prompts))
        fit(self, prompts)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TfidfBackbone, "fit", counted)
    common = ["data=synthetic", "data.prompts=200", "backbone=tfidf", "bootstrap.draws=200", "figures=false"]
    common += ["tracking=off", "trainer.progress=false"]
    sweep = ["router=ridge,knn,category_mean", "out=swept", "cache_dir=cache"]
    assert cli.main(["train", "-m", *common, *sweep]) == 0, capsys.readouterr().err
    assert len(fits) == 1
    for router in ("ridge", "knn", "category_mean"):
        assert cli.main(["train", *common, f"router={router}", "out=alone", f"cache_dir=cache-{router}"]) == 0
    assert len(fits) == 4
    for folder in (path for path in (tmp_path / "alone").iterdir() if path.is_dir()):
        mine, swept = (json.loads((tmp_path / out / folder.name / "results.json").read_text())
                       for out in ("alone", "swept"))  # fmt: skip
        assert mine["routing"] == swept["routing"]


def test_where_nothing_can_be_kept_it_is_learnt_all_the_same(tmp_path):
    (tmp_path / "fitted").write_text("no folder")
    alone = TfidfBackbone()
    alone.fit(TRAIN)
    for _ in range(2):
        assert np.array_equal(learnt(Counting(), TRAIN, tmp_path).embed(NEW), alone.embed(NEW))
    assert Counting.fits == 2
