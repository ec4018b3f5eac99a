"""RouterDC's paper setting by one command: `experiment=routerdc` on files in the layout of its release."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

import erp as package
from erp.programs.train import train
from erp.table.read import read_table
from tests.backbones.tiny_encoders import tiny_encoder
from tests.integration.tables import results

SIZES = {"gsm8k-train": 60, "gsm8k-test": 30, "mmlu_train": 60, "mmlu_test": 30, "mbpp": 5}


def files(folder, seed=0):
    """Seven members, three right where a word's first letter is an early one, three where it is late."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for name, size in SIZES.items():
        items = []
        for _ in range(size):
            question = "".join(rng.choice(list("abcdefgh"), size=8))
            chance = np.where((question[0] < "e") == (np.arange(7) < 3), 0.9, 0.1)
            attempts = rng.binomial(10, chance) / 10
            scores = np.where(rng.random(7) < chance, chance, 0) if name.startswith("mmlu") else attempts
            items.append({"question": question, "scores": {f"org/m{m}": s for m, s in enumerate(scores.tolist())}})
        (folder / f"{name}.json").write_text(json.dumps(items))
    return folder


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A small DeBERTa as mDeBERTa lies on the hub: transformers' files alone."""
    return tiny_encoder(tmp_path_factory.mktemp("encoder") / "deberta", "deberta", "cls").parent / "deberta-plain"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, released):
    """Folder of the run; beside it the table."""
    home = tmp_path_factory.mktemp("routerdc")
    package.import_table(
        "routerdc", files(home / "split2_model7"), out=str(home / "table"), progress=False,
        benchmarks=["gsm8k", "mmlu"], n_samples=10, sampled=["gsm8k"],
    )  # fmt: skip
    return train([
        "experiment=routerdc", f"data.path={home / 'table'}", "trainer.max_epochs=3", "trainer.progress=false",
        f"backbone.model={released}", "backbone.file=model.safetensors", "backbone.sha256=null",
        "trainer.accelerator=cpu", "tracking=off", "figures=false", "bootstrap.draws=100",
        f"out={home / 'runs'}", f"cache_dir={home / 'cache'}",
    ]).folder  # fmt: skip


def test_it_takes_the_given_split_and_trains_the_encoder(tuned, released):
    predictions = pd.read_parquet(tuned / "predictions.parquet")
    found = predictions.drop_duplicates("prompt_id").groupby("split")["prompt_id"]
    assert found.get_group("test").str.contains("test").all()
    assert len(found.get_group("test")) == 60
    told = results(tuned)["run"]
    assert (told["backbone"], told["router"]) == ("mdeberta (fine-tuned)", "routerdc")
    before, after = load_file(released / "model.safetensors"), package.load(tuned).bundle.encoder.state_dict()
    moved = [name for name, value in after.items() if not any(value.equal(b) for b in before.values())]
    assert len(moved) >= len(before) - 4  # biases of the keys change no attention


def test_a_loaded_run_scores_as_its_report_says(tuned):
    predictions = pd.read_parquet(tuned / "predictions.parquet")
    wide = predictions[predictions["split"] == "test"].pivot_table(
        index="prompt_id", columns="model", values="predicted"
    )
    prompts = read_table(str(tuned.parents[1] / "table")).prompts.set_index("prompt_id")["prompt"]
    found = package.load(tuned).scores(prompts.loc[wide.index].tolist())
    np.testing.assert_allclose(found[wide.columns].to_numpy(), wide.to_numpy(), atol=1e-5)
