"""Overrides to a container: every fault of a command, and every job of a sweep, before anything starts."""

import pytest
import yaml

from erp.compose import check_sweep, compose, conf_folder, for_the_jobs, options
from erp.config import PROGRAMS
from erp.errors import ErpError

QUICK = ["data=table", "data.path=scores.parquet"]


def faults(*overrides, program="train", function=compose, config_file=None):
    with pytest.raises(ErpError) as refused:
        function(program, list(overrides), config_file)
    assert not any("\n" in fault for fault in refused.value.faults)
    return list(refused.value.faults)


def fault(*overrides, **more):
    (only,) = faults(*overrides, **more)
    return only


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    monkeypatch.delenv("ERP_WEIGHTS", raising=False)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_composes(program):
    run = ["run=x"] if program in ("evaluate", "route", "extend") else []
    assert set(compose(program, run)) <= {f.alias or n for n, f in PROGRAMS[program].model_fields.items()}


@pytest.mark.parametrize("group", ["data", "pool", "backbone", "router", "policy", "cost", "trainer", "tracking"])
def test_every_option_of_a_group_composes(group):
    for option in options(group):
        if (group, option) != ("data", "same"):
            path = ["data.path=x"] if (group, option) == ("data", "table") else []
            expected = yaml.safe_load((conf_folder() / group / f"{option}.yaml").read_text())
            keys = set(expected) - {"defaults"}
            for line in expected.get(
                "defaults", []
            ):  # a router that is made of routers: /router@candidates.ridge: ridge
                keys |= {place.split("@")[1].split(".")[0] for place in line if place.startswith("/router@")}
            assert set(compose("train", [f"{group}={option}", *path])[group]) == keys


def test_overrides_and_the_environment_are_resolved(monkeypatch):
    monkeypatch.setenv("ERP_WEIGHTS", "/some/where")
    container = compose("train", ["router=knn", "router.k=7", "split.seed=4"])
    assert (container["router"]["name"], container["router"]["k"], container["split"]["seed"]) == ("knn", 7, 4)
    assert container["weights_dir"] == "/some/where"
    assert compose("train", ["weights_dir=/else"])["weights_dir"] == "/else"


def test_an_experiment_sets_several_groups():
    container = compose("train", ["experiment=noise", "router.k=9"])
    assert (container["router"]["name"], container["router"]["k"], container["data"]["signal"]) == ("knn", 9, 0.0)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("sed=3", "sed = 3: there is no such key; did you mean seed?"),
        ("rooter=knn", "rooter = knn: there is no such key; did you mean router?"),
        ("zzz=3", "zzz = 3: there is no such key; see --help"),
        ("split.sed=3", "split.sed = 3: there is no such key; did you mean split.seed?"),
        ("splitt.seed=3", "splitt.seed = 3: there is no such key; did you mean split?"),
        ("trainer.max_epoch=3", "trainer.max_epoch = 3: the chosen option of trainer has no such key; did you mean "),
        ("router.k=3", "router.k = 3: the chosen option of router has no such key; it belongs to router=knn"),
        ("data.columns.reward=x", "data.columns.reward = x: the chosen option of data has no such key; it belongs to "),
        ("+typo=5", "typo = 5: there is no such key; known here: data, reward_model"),
        ("+sed=5", "sed = 5: there is no such key; did you mean seed?"),
        ("+seed=5", "+seed: is there already; leave out the +"),
        ("+router=knn", "+router: is there already; leave out the +"),
        ("~router", "router: is required; give router=<value>"),
        ("seed=many", "seed = many: input should be a valid integer"),
        ("=3", "=3: is not key=value"),
        ("seed", "seed: is not key=value in Hydra's grammar"),
        ("seed=[1,", "seed=[1,: is not key=value in Hydra's grammar; quote values"),
        ("router=ridge,knn", "Ambiguous value for argument 'router=ridge,knn'"),
        ("out=${nothing}", "Interpolation key 'nothing' not found"),
    ],
)
def test_each_fault_is_one_line(override, line):
    assert fault(override).startswith(line)


@pytest.mark.parametrize("group", ["data", "backbone", "router", "policy", "cost", "trainer", "tracking", "experiment"])
def test_an_unknown_option_lists_the_options(group):
    line = fault(f"{group}=nothing")
    assert line.startswith(f"{group} = nothing: there is no such option; choose one of ")
    assert all(option in line for option in options(group))


def test_every_fault_of_a_command_is_named_once():
    lines = faults(*QUICK, "seed=many", "rooter=knn", "router=rigde", "split.test=3", "+typo=5", "out=[")
    assert len(lines) == 6
    for start in ("rooter = knn", "router = rigde", "out=[", "seed = many", "split.test = 3", "typo = 5"):
        assert sum(line.startswith(start) for line in lines) == 1


def test_a_good_value_is_not_blamed_for_the_group_it_needs():
    assert fault("router.k=3", "sed=1", "router=knn").startswith("sed = 1")


def test_a_run_repeats_from_its_config_file(tmp_path):
    first = compose("train", ["router=knn", "router.k=3", *QUICK])
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(first))
    assert compose("train", [], file) == first
    again = compose("train", ["router.k=4", "out=elsewhere"], file)
    assert (again["router"]["k"], again["out"]) == (4, "elsewhere")
    assert {**again, "out": first["out"], "router": first["router"]} == first
    assert fault("sed=3", config_file=file).startswith("sed = 3: there is no such key; did you mean seed?")


def test_a_config_file_is_validated_too(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**compose("train", QUICK), "seed": "many"}))
    assert fault(config_file=file).startswith("seed = many")


def test_a_good_sweep_passes():
    check_sweep("train", ["router=ridge,knn", "split.seed=range(0,3)", "seed=choice(1,2)", "split.test=interval(0,1)"])


@pytest.mark.parametrize(
    ("override", "lines"),
    [
        ("router=ridge,rigde", ["router = rigde: there is no such option"]),
        ("split.test=0.3,1.5,2.5", ["split.test = 1.5: ", "split.test = 2.5: "]),
        ("split.test=range(0.5,1.6,0.5)", ["split.test = 1.0: ", "split.test = 1.5: "]),
        ("split.seed=choice(1,two)", ["split.seed = two: "]),
        ("sed=1,2", ["sed = 1: ", "sed = 2: "]),
        ("data=glob(s*)", ["data = {'kind': 'same'}: "]),
        ("seed=1,2,[", ["seed=1,2,[: is not key=value"]),
    ],
)
def test_faults_of_any_job_of_a_sweep_are_named(override, lines):
    found = faults("seed=0" if not override.startswith("seed") else "objective=area", override, function=check_sweep)
    assert len(found) == len(lines)
    assert all(any(line.startswith(start) for line in found) for start in lines)


def test_a_key_that_only_some_jobs_know_is_named():
    (line,) = faults("router=ridge,knn", "router.k=3", function=check_sweep)
    assert line.startswith("router.k = 3: the chosen option of router has no such key; it belongs to router=knn")


def test_a_sweep_s_settings_are_no_part_of_its_jobs():
    check_sweep("train", ["seed=1,2", "hydra.sweep.dir=somewhere", "hydra/launcher=basic"])


def test_single_keys_of_a_swept_group_are_choices_of_one_and_the_rest_stays():
    swept = ["router=ridge,knn", "router.k=range(2,4)", "data.path=x.csv", "router.alphas=[1,2]", "seed=0,1"]
    assert for_the_jobs("train", swept) == [*swept[:3], "router.alphas=choice([1,2])", swept[4]]
    intervals = ["router=mlp,low_rank", "router.dropout=interval(0,0.5)", "split.test=0.4"]
    assert for_the_jobs("train", intervals) == intervals
