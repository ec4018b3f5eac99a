"""`backbone.finetune=true` from the command line: what it learns, keeps and refuses."""

import io

import numpy as np
import pandas as pd
import pytest

import erp as package
from erp.programs.train import train
from tests.backbones.tiny_encoders import tiny_encoder
from tests.integration.tables import results


def frame(prompts=300, seed=0) -> pd.DataFrame:
    """Words of eight letters; one member is right where the first is an early one, the other where it is a late one."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abcdefgh"), size=8)) for _ in range(prompts)]
    rows = [
        {
            "prompt": word,
            "category": "early" if word[0] < "e" else "late",
            "model": model,
            "reward": reward,
            "tokens": 5,
        }
        for word in words
        for model, reward in (("left", float(word[0] < "e")), ("right", float(word[0] >= "e")))
    ]
    return pd.DataFrame(rows).assign(completion_tokens=5)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder") / "bert", "bert", "mean")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finetune")
    frame().to_parquet(folder / "scores.parquet")
    return folder


@pytest.fixture(scope="module")
def arguments(home, encoder):
    return [
        "data=table", f"data.path={home / 'scores.parquet'}", "backbone=minilm", f"backbone.model=tiny/{encoder.name}",
        f"weights_dir={encoder.parent}", "backbone.sha256=null", "backbone.package=null",
        "router=mlp", "router.hidden=[]", "trainer=finetune",
        "trainer.max_epochs=12", "trainer.batch_size=16", "trainer.learning_rate=0.01", "trainer.accelerator=cpu",
        "backbone.encoder_learning_rate=0.001", "tracking=off", "bootstrap.draws=100", "figures=false",
        "split.near_duplicates=null", "split.test=0.3", "cost.predict=true",
        f"out={home / 'runs'}", f"cache_dir={home / 'cache'}", "trainer.progress=false",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def tuned(arguments):
    """Folder of a fine-tuned run."""
    return train([*arguments, "backbone.finetune=true"]).folder


def embedded(home):
    return {path.name for path in (home / "cache" / "embeddings").iterdir()}


def test_it_learns_what_the_frozen_encoder_does_not_show(arguments, tuned):
    linear = [a for a in arguments if not a.startswith("router")]
    frozen = train(
        [*linear, "router=ridge"]
    ).folder  # the best linear map of the embeddings, as `mlp` without layers is
    told, found = results(frozen), results(tuned)
    assert told["run"]["backbone"] == "minilm"
    assert found["run"]["backbone"] == "minilm (fine-tuned)"
    for member in ("left", "right"):
        assert told["prediction"]["members"][member]["r2"] < 0.3
        assert found["prediction"]["members"][member]["r2"] > 0.5
    assert found["routing"]["router"]["reward"] > told["routing"]["router"]["reward"] + 0.1


def test_a_tuned_encoder_is_shared_with_its_router(encoder, tuned, tmp_path, erp):
    answer = erp("export", f"run={tuned}", f"out={tmp_path / 'shared'}", f"weights_dir={encoder.parent}")
    assert answer.code == 0, answer.err
    run, shared = (package.load(folder, weights_dir=str(encoder.parent)) for folder in (tuned, tmp_path / "shared"))
    prompts = ["abcdefgh", "hgfedcba", "ddddeeee"]
    pd.testing.assert_frame_equal(shared.scores(prompts), run.scores(prompts), check_exact=True)
    tensors = run.bundle.state_dict()
    assert any(name.startswith("encoder.") for name in tensors)
    for name, tensor in shared.bundle.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), tensors[name].numpy(), err_msg=name)


def test_evaluate_gives_the_numbers_of_the_report_without_embedding_again(home, encoder, tuned, erp):
    before = embedded(home)
    answer = erp("evaluate", f"run={tuned}", f"cache_dir={home / 'cache'}", f"weights_dir={encoder.parent}")
    assert answer.code == 0, answer.err
    again, found = results(answer.last), results(tuned)
    for told in (again, found):
        del told["routing"]["cascade"]["threshold"]  # without end, it is null here and the smallest number there
    for section in ("prediction", "routing", "policy", "curves", "audc", "verdict"):
        assert again[section] == found[section], section
    assert embedded(home) == before


def test_a_loaded_run_scores_as_the_report_says(home, encoder, tuned):
    router = package.load(tuned, weights_dir=str(encoder.parent))
    predictions = pd.read_parquet(tuned / "predictions.parquet")
    table = predictions[predictions["split"] == "test"].pivot_table(
        index="prompt_id", columns="model", values="predicted"
    )
    from erp.table.read import read_table

    prompts = read_table(home / "scores.parquet").prompts.set_index("prompt_id")["prompt"]
    found = router.scores(prompts.loc[table.index].tolist())
    np.testing.assert_allclose(found[table.columns].to_numpy(), table.to_numpy(), atol=1e-5)


def test_route_chooses_by_the_trained_encoder(encoder, tuned, erp, monkeypatch):
    prompts = [f"{letter}{rest}" for letter in "abgh" for rest in ("gbcdefa", "aghdcbe", "hhcbdaf")]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(prompts).encode())))
    answer = erp("route", f"run={tuned}", f"weights_dir={encoder.parent}")
    assert answer.code == 0, answer.err
    chosen = [line.split("\t")[1] for line in answer.out.splitlines()]
    right = [member == ("left" if prompt[0] < "e" else "right") for prompt, member in zip(prompts, chosen, strict=True)]
    assert np.mean(right) > 0.8


@pytest.mark.parametrize("router", ["ridge", "knn", "category_mean"])
def test_a_closed_form_is_refused_by_name(arguments, home, erp, router):
    given = [a for a in arguments if not a.startswith(("router", "out", "trainer.progress"))]
    answer = erp("train", *given, f"router={router}", "backbone.finetune=true", "out=runs")
    assert answer.code == 2
    (fault,) = answer.faults
    assert fault.startswith(f"erp train: router = {router}: is solved in closed form, so that no gradient reaches")
    assert "(mlp, low_rank, ranking)" in fault


def test_it_is_refused_before_a_download_and_beside_other_faults(erp):
    answer = erp(
        "train", "data=table", "data.path=nowhere.parquet", "backbone=minilm", "backbone.finetune=true", "router=ridge"
    )
    assert answer.code == 2
    assert len(answer.faults) == 2
    assert "router = ridge: is solved in closed form" in answer.faults[0]
    assert "nowhere.parquet" in answer.faults[1]


def test_a_backbone_without_an_encoder_to_train_says_so(quick, erp):
    answer = erp("train", *quick, "backbone.finetune=true", "router=mlp")
    assert answer.code == 2
    (fault,) = answer.faults
    assert "backbone.finetune = true: the chosen option of backbone has no such key; it belongs to" in fault
    assert "minilm" in fault
    (fault,) = erp("train", *quick, "+backbone.finetune=true", "router=mlp").faults
    assert "backbone.finetune = True" in fault or "backbone.finetune = true" in fault


def test_a_member_joins_a_fine_tuned_run(home, encoder, tuned, erp):
    both = frame()
    third = both[both["model"] == "left"].assign(model="third", reward=lambda left: 0.8 * left["reward"])
    pd.concat([both, third]).to_parquet(home / "three.parquet")
    there = f"weights_dir={encoder.parent}"
    answer = erp("extend", f"run={tuned}", "data=table", f"data.path={home / 'three.parquet'}", "labels=60", there)
    assert answer.code == 0, answer.err
    prompts = ["abcdefgh", "hgfedcba"]
    before, found = (package.load(run, weights_dir=str(encoder.parent)).scores(prompts) for run in (tuned, answer.last))
    np.testing.assert_allclose(found[["left", "right"]].to_numpy(), before.to_numpy(), atol=1e-6)
    assert found["third"][0] > found["third"][1] + 0.2
