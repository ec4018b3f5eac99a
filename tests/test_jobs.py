"""The jobs of a sweep: their configs are those that Hydra composes one by one, at a fraction of the time."""

import itertools

import hydra
import pytest

from erp.config.typed import typed
from erp.jobs import check_sweep, jobs_of
from tests.composed import hydra_s

SWEEPS = {
    "values": ["router=knn", "router.k=3,5", "split.seed=0,1", "policy.lambda=0,0.5,inf"],
    "groups": ["router=ridge,knn", "backbone=hashing,surface", "split.seed=range(0,2)"],
    "lists and null": ["pool.members=null,[a,b],[c]", "router.alphas=[1,2],[3]", "labels.prompts=null,40"],
    "a key of a swept group": ["router=knn,ridge", "router.name=mine,yours"],
    "mappings": ["data.columns={reward: a},{model: b}", "data=table", "data.path=t.csv", "seed=0,1"],
    "what overlaps": ["bootstrap={draws: 300},{draws: 400}", "bootstrap.level=0.8,0.9"],
    "texts": ["data=table", "data.path=a.csv,b c.csv", "data.columns.reward=x,'y, z',${sweep}", "sweep=s"],
}


@pytest.mark.parametrize("overrides", SWEEPS.values(), ids=SWEEPS)
def test_every_job_gets_the_config_that_it_gets_alone(overrides):
    overrides = typed(overrides, sweep=True)
    planned = jobs_of("train", overrides)
    each = [(words, make()) for words, make in planned.each()]
    assert len(each) > 1
    for words, config in each:
        assert config == hydra_s("train", words)


def test_hydra_composes_what_jobs_have_in_common_once(monkeypatch, tmp_path):
    here = f"hydra.searchpath=[file://{tmp_path}]"  # where no other command of this process has looked
    composed, once = [], hydra.compose
    monkeypatch.setattr("hydra.compose", lambda *given, **more: composed.append(more) or once(*given, **more))
    swept = ["router=ridge,knn", "split.seed=range(0,10)", "seed=0,1", "backbone=hashing"]
    assert len(check_sweep("train", [here, *swept])) == 40
    assert len(composed) == 3  # for each router, and Hydra's own settings


def test_jobs_are_in_hydra_s_order_and_the_last_of_a_key_given_twice_counts():
    planned = jobs_of("train", ["seed=0,1", "split.seed=0,1", "seed=2,3", "router=ridge"])
    assert [words for words, _ in planned.each()] == [
        [f"seed={a}", f"split.seed={b}", "router=ridge"] for a, b in itertools.product((2, 3), (0, 1))
    ]


def test_of_many_jobs_the_later_ones_are_composed_when_they_start(monkeypatch):
    monkeypatch.setattr("erp.jobs.MOST_JOBS_CHECKED", 3)
    planned = jobs_of("train", ["split.seed=range(0,4)", "seed=range(0,2)"])
    found = [make() for _, make in planned.each()]
    assert [(c["split"]["seed"], c["seed"]) for c in found] == list(itertools.product(range(4), range(2)))


@pytest.mark.parametrize(
    ("override", "plain"),
    [
        ("seed=1", True),
        ("hydra/launcher=joblib", False),
        ("hydra/sweeper=optuna", False),
        ("hydra.sweeper.max_batch_size=1", False),
        ("split.test=interval(0.1,0.3)", False),
    ],
)
def test_hydra_does_what_only_hydra_knows(override, plain):
    assert jobs_of("train", ["split.seed=0,1", override]).plain is plain


@pytest.mark.parametrize("node", ["launcher: joblib", "sweeper: optuna"])
def test_an_experiment_file_may_ask_for_a_launcher_or_a_sweeper(node, tmp_path):
    (tmp_path / "experiment").mkdir()
    group, option = node.split(": ")
    text = f"# @package _global_\n# One\ndefaults:\n  - override /hydra/{group}: {option}\n"
    (tmp_path / "experiment/mine.yaml").write_text(text)
    found = jobs_of("train", [f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine", "seed=0,1"])
    assert not found.plain
