"""Overrides to a container: every fault of a command, and every job of a sweep, before anything starts."""

import math

import pytest
import yaml

from erp.compose import compose, conf_folder, options
from erp.config import PROGRAMS
from erp.config.typed import typed
from erp.errors import ErpError
from erp.jobs import check_sweep, for_the_jobs
from tests.composed import hydra_s

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
    run = ["run=x"] if program in ("evaluate", "report", "route", "extend", "serve") else []
    run = {"import": ["path=x.csv"], "export": ["run=x", "out=y"], "push": ["run=x", "to=me/y"]}.get(program, run)
    assert set(compose(program, run)) <= {f.alias or n for n, f in PROGRAMS[program].model_fields.items()}


@pytest.mark.parametrize("group", ["data", "pool", "backbone", "router", "policy", "cost", "trainer", "tracking"])
def test_every_option_of_a_group_composes(group):
    for option in options(group):
        if (group, option) != ("data", "same"):
            path = {"table": ["data.path=x"], "attempt": ["backbone.member=x"]}.get(option, [])
            expected = yaml.safe_load((conf_folder() / group / f"{option}.yaml").read_text())
            keys = set(expected) - {"defaults"}
            for line in expected.get(
                "defaults", []
            ):  # a router that is made of routers: /router@candidates.ridge: ridge
                keys |= {place.split("@")[1].split(".")[0] for place in line if place.startswith(f"/{group}@")}
            assert set(compose("train", [f"{group}={option}", *path])[group]) == keys


@pytest.mark.parametrize(
    "overrides",
    [
        ["router=knn", "router.k=3", "split.seed=4"],
        ["router.k=3", "router=knn"],
        ["seed=1", "++seed=2"],
        ["++seed=2", "seed=1"],
        ["router=auto", "+router@router.candidates.mine=knn", "router.candidates.mine.k=4"],
        ["router=auto", "~router.candidates.ridge"],
        ["split.test=0.3", "++split={test: 0.25}"],
        ["++split={test: 0.25}", "split.test=0.3"],
        ["tracking=wandb", "tracking.tags=[a,'b c']", "policy.lambda=inf", "sweep=null"],
        ["policy=budget", "sweep=s${seed}", "seed=3"],
        ["experiment=noise", "seed=3"],
    ],
    ids=" ".join,
)
def test_a_config_is_what_hydra_composes_of_the_whole_command(overrides):
    expected = hydra_s("train", overrides)
    assert compose("train", overrides) == expected
    assert compose("train", overrides) == expected  # of what is kept since


def test_a_config_file_that_has_changed_is_read_again(tmp_path):
    path = f"hydra.searchpath=['file://{tmp_path}']"
    folder = tmp_path / "experiment"
    folder.mkdir()
    for seed in (1, 22):
        (folder / "mine.yaml").write_text(f"# @package _global_\nseed: {seed}\n")
        assert compose("train", [path, "experiment=mine"])["seed"] == seed
    (folder / "mine.yaml").unlink()
    assert "there is no such option" in fault(path, "experiment=mine")


def test_a_group_of_the_user_s_own_is_composed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "quick.yaml").write_text("# @package _global_\nseed: 5\n")
    assert compose("train", [f"hydra.searchpath=['file://{tmp_path}']", "+mine=quick"])["seed"] == 5


def test_a_repeated_config_that_has_changed_is_read_again(tmp_path):
    file = tmp_path / "config.yaml"
    for seed in (1, 22):
        file.write_text(yaml.safe_dump(compose("train", [*QUICK, f"seed={seed}"])))
        assert compose("train", [], file)["seed"] == seed


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
        ("polic=budget", "polic = budget: there is no such key; did you mean policy?"),
        ("+typo=5", "typo = 5: there is no such key; known here: data, reward_model"),
        ("+sed=5", "sed = 5: there is no such key; did you mean seed?"),
        ("+seed=5", "+seed: is there already; leave out the +"),
        ("+router=knn", "+router: is there already; leave out the +"),
        ("~router", "router: is required; give router=<value>"),
        ("seed=many", "seed = many: input should be a valid integer"),
        ("=3", "=3: is not key=value"),
        ("seed", "seed: is not key=value in Hydra's grammar"),
        ("seed=[1,", "seed=[1,: is not key=value in Hydra's grammar; a text with "),
        ("router=ridge,knn", "router = ridge,knn: are several values; -m sweeps over them, 'router=[ridge,knn]' is a "),
        ("out=${nothing}", "out: refers to ${nothing}, and there is no such key; "),
    ],
)
def test_each_fault_is_one_line(override, line):
    assert fault(override).startswith(line)


@pytest.mark.parametrize("group", ["data", "backbone", "router", "policy", "cost", "trainer", "tracking", "experiment"])
def test_an_unknown_option_lists_the_options(group):
    line = fault(f"{group}=nothing")
    assert line.startswith(f"{group} = nothing: there is no such option; choose one of ")
    assert all(option in line for option in options(group))
    assert line.endswith("`erp train --help` says in a line each what they are")


def test_a_path_in_place_of_an_option_is_told_where_it_goes():
    line = fault("data=tables/mine")
    assert "choose one of " in line
    assert ", or give a table of your own as data=table data.path=tables/mine; " in line


def test_every_fault_of_a_command_is_named_once():
    lines = faults(*QUICK, "seed=many", "rooter=knn", "router=rigde", "split.test=3", "+typo=5", "tracking.tags=[")
    assert len(lines) == 6
    for start in ("rooter = knn", "router = rigde", "tracking.tags=[", "seed = many", "split.test = 3", "typo = 5"):
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


TYPED = [
    "é.csv", "日本語/x.csv", "a=b/x.csv", "a b, c/x.csv", "[a]{b}(c).csv", "it's.csv", 'a"b.csv', "a;b#c&d!e<f>`g.csv",
    "1", "007", "1e3", "true", "dir/*.parquet", "s3://bucket/a?b", "C:\\x\\", " ends in a space ", "ü~ß", "+x", "'a'b'",
]  # fmt: skip


@pytest.mark.parametrize("path", TYPED)
@pytest.mark.parametrize("key", ["data.path", "out", "cache_dir", "weights_dir", "cost.prices"])
def test_a_path_is_taken_as_it_was_typed(path, key):
    found = compose("train", ["data=table", "data.path=x.csv", f"{key}={path}"])
    for part in key.split("."):
        found = found[part]
    assert found == path


@pytest.mark.parametrize("path", [path for path in TYPED if "," not in path and not set(path) & {"'", '"'}])
def test_so_it_is_in_a_sweep_where_a_comma_parts_paths(path):
    jobs = check_sweep("train", typed(["data=table", f"data.path={path},other.csv", "seed=0,1"], sweep=True))
    assert [job["data"]["path"] for job in jobs] == [path, path, "other.csv", "other.csv"]


def test_a_path_with_a_comma_is_one_in_a_sweep_if_it_is_there_or_quoted(tmp_path):
    there = tmp_path / "a, b.csv"
    there.touch()
    for given in (there, f"'{there}'"):
        jobs = check_sweep("train", typed(["data=table", f"data.path={given}", "seed=0,1"], sweep=True))
        assert [job["data"]["path"] for job in jobs] == [str(there)] * 2
    jobs = check_sweep("train", typed(["data=table", f"data.path='{there}',b.csv"], sweep=True))
    assert [job["data"]["path"] for job in jobs] == [str(there), "b.csv"]


def test_the_home_folder_is_filled_in(monkeypatch):
    monkeypatch.setenv("HOME", "/home/é")
    assert compose("train", ["out=~/runs"])["out"] == "/home/é/runs"
    assert compose("train", ["out=a~/~runs"])["out"] == "a~/~runs"


@pytest.mark.parametrize("text", ["é", "a=b", "x~y", "a#b", "plain text", "¿qué?"])
def test_other_texts_too_need_no_quotes(text):
    assert compose("train", [f"tracking.project={text}"])["tracking"]["project"] == text


@pytest.mark.parametrize("written", [".inf", ".Inf", "+.inf", "inf"])
def test_infinity_is_written_on_a_command_line_as_in_a_config_file(written):
    """The comments of the config files, which the help prints, write it as YAML does."""
    assert compose("train", ["policy=tolerance", f"policy.tau={written}"])["policy"]["tau"] == math.inf
    swept = compose("train", [f"policy.lambda={written}"])
    assert swept["policy"]["lambda"] == math.inf
    assert compose("route", ["run=x", f"lambda={written}"])["lambda"] == math.inf
    assert compose("describe", ["data=table", "data.path=.inf"])["data"]["path"] == ".inf"


def test_null_and_quoted_values_stay_what_they_are_to_hydra():
    found = compose("train", ["cache_dir=null", 'out="a b"', "data=table", "data.path='a, b'"])
    assert (found["cache_dir"], found["out"], found["data"]["path"]) == (None, "a b", "a, b")


COLLECT = ["prompts=jsonl", "prompts.path=x", "pool=mini", "reward_model=verifier", "engine=openai"]


def test_a_mapping_may_bring_keys_of_its_own():
    found = compose("collect", [*COLLECT, "engine.extra_body={top_k: -1, min_p: 0}"])
    assert found["engine"]["extra_body"] == {"top_k": -1, "min_p": 0}
    line = fault(*COLLECT, "engine.extra_body.top_k=-1", program="collect")
    assert line == (
        "engine.extra_body.top_k = -1: is not there yet, and may be added; give +engine.extra_body.top_k=<value>"
    )
    assert compose("collect", [*COLLECT, "+engine.extra_body.top_k=-1"])["engine"]["extra_body"] == {"top_k": -1}
    assert compose("train", ["split={seed: 3}"])["split"]["seed"] == 3
    assert fault("split={sed: 3}").startswith("split.sed = 3: there is no such key; did you mean seed?")


def test_too_deep_a_value_is_a_line():
    assert fault(f"tracking.tags={'[' * 3000}").startswith("tracking.tags=[[[")


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("router: {name: '${oc.env:SECRET}'}", "router.name holds ${, and nothing is looked up"),
        ("tracking: {tags: [a, '${oc.env:SECRET}']}", "tracking.tags.1 holds ${"),
        ("'${oc.env:SECRET}': 1", "${oc.env:SECRET} holds ${"),
        ("out: '${now:%Y}'", "out holds ${"),
        ("out: '${seed}'", "out holds ${"),
        (LAUGHS, "it stands for more than 100,000 values"),
        ("a: &a [*a]", "*a stands for nothing yet"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested deeper than 64"),
        ("seed: 1\nseed: 2", "seed stands there twice"),
        ("seed: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("hydra: {run: {dir: x}}", "has hydra, which no resolved config has"),
        ("defaults: [/router: knn]", "has defaults, which no resolved config has"),
        ("- 1", "is no mapping"),
        ("", "is no mapping"),
        ("seed: [", "cannot be read"),
    ],
)
def test_a_config_file_from_elsewhere_is_plain_values(tmp_path, monkeypatch, content, said):
    monkeypatch.setenv("SECRET", "sk-hidden")
    file = tmp_path / "config.yaml"
    file.write_text(content)
    for line in faults(config_file=file):
        assert line.startswith(f"config = {file}: ")
        assert said in line
        assert "sk-hidden" not in line


@pytest.mark.parametrize("name", ["my config.yml", "a=b, c.yaml", "é", "config"])
def test_a_config_file_may_be_called_anything_and_lie_beside_anything(tmp_path, name):
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "ridge.yaml").write_text("name: not ours")
    (tmp_path / name).write_text(yaml.safe_dump(compose("train", [*QUICK, "seed=5"])))
    assert compose("train", [], tmp_path / name)["seed"] == 5


def test_anchors_within_bounds_are_read(tmp_path):
    first = compose("train", [*QUICK, "seed=7", "split.seed=7"])
    text = yaml.safe_dump(first).replace("seed: 7", "seed: &seed 7", 1).replace("seed: 7\n", "seed: *seed\n", 1)
    assert text.count("&seed") == text.count("*seed") == 1
    (tmp_path / "config.yaml").write_text(text)
    assert compose("train", [], tmp_path / "config.yaml") == first


def test_an_option_from_elsewhere_reads_no_variable_that_the_command_does_not_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "sk-hidden")
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "theirs.yaml"
    path = f"hydra.searchpath=['file://{tmp_path}']"
    for text in ("${oc.env:SECRET}", "${oc.decode:${oc.env:SECRET}}", "x${oc.env:'SECRET'}y", "${oc.env:SECRET,none}"):
        file.write_text(f"# @package _global_\nsweep: {text}\n")
        (line,) = set(faults(path, "experiment=theirs"))
        assert "oc.env:SECRET} is looked up only where the command names it" in line
        assert "sk-hidden" not in line
    assert compose("train", ["sweep=${oc.env:SECRET}"])["sweep"] == "sk-hidden"
    file.write_text("# @package _global_\nhydra: {sweeper: {params: {seed: '0,1', sweep: '${oc.env:SECRET}'}}}\n")
    assert all("params.sweep: holds ${" in line for line in faults(path, "experiment=theirs", function=check_sweep))


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
        ("data=glob(s*)", ["data: names no class"]),
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


@pytest.mark.parametrize(
    ("program", "override", "line"),
    [
        (
            "route",
            "figures=false",
            "figures = false: there is no such key; it belongs to erp compare and erp ",
        ),
        ("route", "router=knn", "router = knn: there is no such key; it belongs to erp train; see --help"),
        (
            "evaluate",
            "bootstrap.draws=9",
            "bootstrap.draws = 9: there is no such key; it belongs to erp compare and erp ",
        ),
        ("route", "outptu=json", "outptu = json: there is no such key; did you mean output?"),
    ],
)
def test_a_key_of_another_program_is_said_to_be_one(program, override, line):
    with pytest.raises(ErpError) as caught:
        compose(program, ["run=x", override])
    assert caught.value.faults[0].startswith(line), caught.value.faults
