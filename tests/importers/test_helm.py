"""HELM's runs: perturbed copies are dropped and counted, trials are samples, a metric is chosen."""

from __future__ import annotations

import json

import pytest

from tests.importers.benchmarks import cells, imported, refused


def stat(name, total, count=1, **more):
    mean = {"mean": total / count} if count else {}
    return {"name": {"name": name, "split": "test", **more}, "count": count, "sum": total, **mean}


def stats(id="id0", score: float | None = 1.0, trial=0, perturbation=None, **scores):
    """Entries of ``per_instance_stats.json`` of one instance: one for every class of metrics."""
    named = {"exact_match": score, **scores}
    shared = {"instance_id": id, "train_trial_index": trial}
    if perturbation:
        shared["perturbation"] = perturbation
    values = [stat(name, value) for name, value in named.items() if value is not None]
    lengths = [stat("num_prompt_tokens", 30), stat("num_completion_tokens", 4), stat("finish_reason_stop", 1)]
    return [{**shared, "stats": values}, {**shared, "stats": lengths}]


def state(id="id0", trial=0, perturbation=None, **more):
    """One of ``request_states``."""
    instance = {"input": {"text": f"question {id}"}, "id": id, "split": "test",
                "references": [{"output": {"text": "gold answer"}, "tags": ["correct"]}]}  # fmt: skip
    if perturbation:
        instance |= {"perturbation": perturbation, "input": {"text": f"qeustion {id}"}}
    completion = {"text": "two", "logprob": -1.0, "tokens": [], "finish_reason": {"reason": "stop"}}
    return {
        "instance": instance,
        "train_trial_index": trial,
        "request": {"model": "org/small", "prompt": f"Examples.\n\nquestion {id}\nA. x\nAnswer:"},
        "result": {"success": True, "completions": [completion], "cached": False},
        "num_train_instances": 5,
        "prompt_truncated": False,
        **more,
    }


def write(root, entries, states, model="org/small", scenario="mmlu:subject=anatomy", groups=("mmlu",)):
    name = f"{scenario},model={model.replace('/', '_')}"
    folder = root / "runs" / "v1" / name
    folder.mkdir(parents=True)
    (folder / "per_instance_stats.json").write_text(json.dumps([entry for some in entries for entry in some]))
    spec = {"method": "multiple_choice_joint", "model": model, "model_deployment": f"x/{model}",
            "output_prefix": "Answer: ", "global_suffix": ""}  # fmt: skip
    (folder / "scenario_state.json").write_text(json.dumps({"adapter_spec": spec, "request_states": states}))
    (folder / "run_spec.json").write_text(json.dumps({"name": name, "groups": list(groups), "adapter_spec": spec}))
    return root / "runs"


def test_runs_become_rows_joined_by_instance(tmp_path):
    write(tmp_path, [stats("id0"), stats("id1", 0)], [state("id0"), state("id1")])
    path = write(tmp_path, [stats("id0", 0), stats("id1", 0)], [state("id0"), state("id1")], model="org/large")
    table, manifest = imported("helm", path)
    assert table.members == ("org/large", "org/small")
    frame = cells(table, "prompt_tokens", "completion_tokens")
    assert frame["reward"].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert frame[["category", "prompt_tokens", "completion_tokens"]].drop_duplicates().values.tolist() == [
        ["mmlu", 30, 4]
    ]
    assert table.prompts["prompt"].tolist() == ["question id0\nA. x", "question id1\nA. x"]
    assert table.prompts["prompt_id"].tolist() == ["mmlu:subject=anatomy/id0", "mmlu:subject=anatomy/id1"]
    assert manifest["reward_models"] == ["exact_match"]


def test_perturbed_copies_are_dropped_and_counted(tmp_path):
    typos, case = ({"name": name, "robustness": True} for name in ("typos", "lower_case"))
    entries = [stats("id0"), stats("id0", 0, perturbation=typos), stats("id0", 0, perturbation=case)]
    states = [state("id0"), state("id0", perturbation=typos), state("id0", perturbation=case)]
    table, manifest = imported("helm", write(tmp_path, entries, states))
    assert cells(table)["reward"].tolist() == [1.0]
    assert table.prompts["prompt"].tolist() == ["question id0\nA. x"]
    assert manifest["left_out"] == {"a perturbed copy of an instance": 2}


def test_trials_are_samples(tmp_path):
    path = write(tmp_path, [stats(trial=t, score=t % 2) for t in range(3)], [state(trial=t) for t in range(3)])
    table, manifest = imported("helm", path)
    assert manifest["samples_per_cell"] == [3, 3]
    assert cells(table)["reward"].tolist() == [0, 1, 0]


def test_several_metrics_are_listed_and_each_run_has_its_own(tmp_path):
    write(tmp_path, [stats(f1_score=0.25)], [state()])
    path = write(tmp_path, [stats(score=None, ifeval=0.75)], [state("id0")], scenario="ifeval:", groups=["ifeval"])
    assert "has several, exact_match, f1_score; choose" in refused("helm", path)
    table, manifest = imported("helm", path, metric=["f1_score", "ifeval"])
    assert sorted(cells(table)["reward"]) == [0.25, 0.75]
    assert any("several scores: f1_score, ifeval" in note for note in manifest["notes"])


def test_members_with_other_few_shot_examples_are_refused_or_noted(tmp_path):
    for model in ("org/small", "org/large"):
        path = write(tmp_path, [stats()], [state()], model=model)
        file = next(path.glob(f"*/*{model[-5:]}/scenario_state.json"))
        said = json.loads(file.read_text())
        said["adapter_spec"]["max_train_instances"] = len(model)
        file.write_text(json.dumps({**said, "adapter_spec": {**said["adapter_spec"], "instructions": model}}))
    refusal = refused("helm", path)
    assert "instructions org/large" in refusal or "instructions 'org/large'" in refusal
    _, manifest = imported("helm", path, style="any")
    assert any("members were asked in different ways" in note for note in manifest["notes"])


def test_a_metric_may_be_better_lower(tmp_path):
    table, _ = imported("helm", write(tmp_path, [stats(score=0.25)], [state()]), lower_is_better=True)
    assert cells(table)["reward"].tolist() == [-0.25]


def test_failed_requests_and_metrics_that_are_no_number_are_missing(tmp_path):
    failed = {"success": False, "error": "429", "completions": []}
    path = write(
        tmp_path,
        [stats("id0"), stats("id1", 0), stats("id2", None)],
        [state("id0"), state("id1", result=failed), state("id2"), state("id3", result=None)],
    )
    _, manifest = imported("helm", path)
    assert manifest["missing"] == {"the request failed": 1, "no exact_match": 1, "the request was not executed": 1}


def test_choices_that_were_asked_for_one_by_one_are_one_row(tmp_path):
    path = write(tmp_path, [stats()], [state(reference_index=i) for i in range(4)])
    table, _ = imported("helm", path)
    assert len(table.samples) == 1
    assert table.prompts["prompt"].tolist() == ["question id0"]  # what follows it is one of the choices


def test_the_request_as_it_was_sent(tmp_path):
    table, _ = imported("helm", write(tmp_path, [stats()], [state()]), prompt="request")
    assert table.prompts["prompt"].tolist() == ["Examples.\n\nquestion id0\nA. x\nAnswer:"]


@pytest.mark.parametrize("name", ["per_instance_stats.json", "scenario_state.json"])
def test_a_run_without_one_of_its_files_is_named(tmp_path, name):
    path = write(tmp_path, [stats()], [state()])
    write(tmp_path, [stats()], [state()], model="org/large")
    next(path.glob(f"*/*small/{name}")).unlink()
    assert f"a run lacks a file; first: v1/mmlu:subject=anatomy,model=org_small: no {name}" in refused("helm", path)
    assert imported("helm", path, strict=False)[0].members == ("org/large",)


@pytest.mark.parametrize(
    ("entries", "states", "reason"),
    [
        ([[{"instance_id": None, "stats": []}]], [], "instance_id is no name"),
        ([[{"instance_id": "id1", "stats": 3}]], [], "statistics of an instance are no list"),
        ([], [state("id1", instance=None)], "instance is no object"),
        ([], [state("id1", instance={"id": "id1", "input": {"text": ""}})], "no prompt"),
    ],
)
def test_what_is_no_instance_stops_the_import(tmp_path, entries, states, reason):
    path = write(tmp_path, [stats(), *entries], [state(), *states])
    assert reason in refused("helm", path)
    assert cells(imported("helm", path, strict=False)[0])["reward"].tolist() == [1.0]
