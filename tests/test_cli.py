"""The command line's own part: help, unknown programs, and how an error ends a command."""

import contextlib
import importlib
import json
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from erp import cli
from erp.compose import conf_folder, options
from erp.config import PROGRAMS
from erp.errors import ErpError

ROOT = Path(__file__).resolve().parents[1]
GROUPS = {
    "collect": ["prompts", "pool", "reward_model", "engine", "runner"],
    "describe": ["data", "reward_model", "pool"],
    "train": [
        *("data", "reward_model", "pool", "backbone", "router", "policy", "cost"),
        *("trainer", "tracking", "experiment"),
    ],
    "evaluate": ["data", "reward_model", "cost"],
    "report": [],
    "route": [],
    "compare": [],
    "extend": ["data"],
    "dashboard": [],
}


@pytest.fixture
def command(monkeypatch):
    """Let a program do something else: `command("route", function)`."""

    def replace(program, function):
        monkeypatch.setattr(importlib.import_module(f"erp.programs.{program}"), "main", function)

    return replace


def raising(error):
    def main(arguments):
        raise error

    return main


def test_there_is_a_summary_a_config_and_a_program_for_each_name():
    assert set(GROUPS) <= set(PROGRAMS)  # one that is added needs no line here
    assert list(cli.summaries()) == sorted(file.stem for file in conf_folder().glob("*.yaml")) == sorted(PROGRAMS)


@pytest.mark.parametrize("program", GROUPS)
def test_help_lists_every_group_and_option_with_its_first_line(program, capsys):
    assert cli.main([program, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for group in GROUPS[program]:
        start = lines.index(f"  {group}")
        of_group = lines[start : lines.index("", start)]
        for option in options(group):
            if option == "same" and program not in ("evaluate", "extend"):
                continue
            if group == "reward_model" and (option == "only") == (program == "collect"):
                continue  # how a reward model is called matters where it is called
            (line,) = [line for line in of_group if line.lstrip(" *").startswith(f"{option} ")]
            assert len(line.split(option, 1)[1].strip()) > 10  # what it is


@pytest.mark.parametrize("program", GROUPS)
def test_help_lists_every_key_of_the_schema(program, capsys):
    cli.main([program, "-h"])
    text = capsys.readouterr().out
    for name, field in PROGRAMS[program].model_fields.items():
        assert (field.alias or name) in text
    assert ("data=same" in text or "* same " in text) == (program in ("evaluate", "extend"))


def test_help_marks_the_default_option(capsys):
    cli.main(["train", "--help"])
    marked = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("  * ")]
    assert marked == ["mini", "only", "all", "minilm", "ridge", "lambda", "auto", "default", "wandb"]


def test_help_names_the_keys_of_options(capsys):
    cli.main(["train", "--help"])
    lines = capsys.readouterr().out.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.strip().startswith("knn ")]
    assert lines[at + 1].split("keys: ")[1] == "k, ks, temperature, exact_up_to, temperatures"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_lists_the_programs(arguments, capsys):
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert all(f"  {name}" in out and text in out for name, text in cli.summaries().items())


def test_help_of_every_program_imports_nothing_heavy():
    code = (
        "import json, sys\n"
        "from erp import cli\n"
        f"codes = [cli.main([*program, '--help']) for program in {[[], *([p] for p in GROUPS)]}]\n"
        "codes.append(cli.main(['--version']))\n"
        "print(json.dumps([codes, sorted({name.split('.')[0] for name in sys.modules})]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    codes, modules = json.loads(done.stdout.splitlines()[-1])
    assert codes == [0] * (len(GROUPS) + 2)
    heavy = {"torch", "hydra", "omegaconf", "pandas", "numpy", "wandb", "pytorch_lightning", "sklearn", "matplotlib"}
    assert heavy.isdisjoint(modules)
    assert "erp" in modules


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("erp")


def test_an_unknown_program_lists_the_known_ones(capsys):
    assert cli.main(["trian", "--help"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(
        "erp: trian: there is no such program; choose one of collect, compare, dashboard, describe, evaluate, exp"
    )


def test_arguments_reach_the_program(command):
    seen = []
    command("route", seen.append)
    assert cli.main(["route", "run=x", "lambda=1"]) == 0
    assert seen == [["run=x", "lambda=1"]]


def test_each_fault_is_a_line_and_the_code_is_2(command, capsys):
    command("route", raising(ErpError("run = x: is wrong; do this", "lambda = -1: is wrong; do that")))
    assert cli.main(["route", "run=x"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "erp route: run = x: is wrong; do this\nerp route: lambda = -1: is wrong; do that\n"


def test_an_interrupt_is_130_and_one_line(command, capsys):
    command("compare", raising(KeyboardInterrupt()))
    assert cli.main(["compare"]) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("erp compare: interrupted")


@pytest.mark.parametrize("then", [None, RuntimeError("stopped"), ImportError("half done"), ErpError("a", "b")])
def test_an_interrupt_that_a_library_swallows_or_rewords_is_130_too(command, capsys, then):
    def main(_):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        if then is not None:
            raise then

    before = signal.getsignal(signal.SIGINT)
    command("compare", main)
    assert cli.main(["compare"]) == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert capsys.readouterr().err.splitlines()[-1].startswith("erp compare: interrupted")


def test_a_bug_keeps_its_traceback(command):
    command("compare", raising(ZeroDivisionError("ours")))
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.main(["compare"])


def test_a_closed_pipe_is_no_error(tmp_path):
    code = (
        "import sys, types\n"
        "program = types.ModuleType('erp.programs.route')\n"
        "def main(arguments):\n"
        "    for i in range(100000):\n"
        "        print(i)\n"
        "program.main = main\n"
        "sys.modules['erp.programs.route'] = program\n"
        "from erp import cli\n"
        "sys.exit(cli.main(['route']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "0\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(30) == 0


def test_the_console_script_exits_with_the_code(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["erp", "trian"])
    with pytest.raises(SystemExit) as ended:
        cli.entry()
    assert ended.value.code == 2
