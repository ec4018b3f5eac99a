"""Every shell and Python block of the documentation runs as it stands there, or says why it cannot."""

from __future__ import annotations

import gc
import re

import pytest

from erp.compose import compose
from erp.jobs import check_sweep
from erp.programs.commandline import parse
from tests.docs.pages import PAGES, ROOT, Block, Reader, blocks, forget_modules, parsed, write_files

QUICK = ["collect.md"]  # pages that take seconds
SHELL = [block for page in PAGES for block in blocks(page) if block.kind in ("sh", "bash", "shell", "console")]
COMMANDS = [(block, line) for block in SHELL for line in block.commands]
RUNNABLE = [page for page in PAGES if any(b.why is None and b.kind in ("sh", "python") for b in blocks(page))]


@pytest.fixture(autouse=True)
def _no_modules_left(tmp_path):
    yield from forget_modules(tmp_path)


def test_blocks_are_found():
    kinds = {block.kind for page in PAGES for block in blocks(page)}
    assert kinds <= {"sh", "python", "yaml", "text", "output"}, "a kind of block that no test knows"
    assert len(COMMANDS) > 40
    fences = sum(len(re.findall(r"^```\w+$", page.read_text(), re.MULTILINE)) for page in PAGES)
    assert fences == sum(len(blocks(page)) for page in PAGES)


@pytest.mark.parametrize("block", [b for page in PAGES for b in blocks(page) if b.why is not None], ids=str)
def test_a_block_that_is_not_run_says_why(block: Block):
    assert re.search(r"\w+ \w+", block.why), f"{block}: <!-- not run: why -->"


@pytest.mark.parametrize(("block", "line"), COMMANDS, ids=lambda value: str(value)[:60])
def test_every_command_is_one(block: Block, line: str, tmp_path, monkeypatch):
    """What is not `erp` is a known program; what is has keys and options that exist, be it run or not."""
    program, *arguments = parsed(line).arguments
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {a for a in arguments if "=" not in a} <= set(targets), f"{block}: {line}"
        return
    if program == "bash":
        assert (ROOT / arguments[0]).is_file(), f"{block}: {line}"
        return
    if program != "erp":
        assert program in ("export", "git", "pip", "wandb", "kill", "docker"), f"{block}: {line}"
        return
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("erp.jobs.MOST_JOBS_CHECKED", 8)  # of a sweep; where it is run, all are
    write_files(block.page, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    program, *arguments = arguments
    if program in ("--help", "--version") or "--help" in arguments:
        return
    if program == "compare":  # run folders and sweep files stand beside its keys
        arguments = [a for a in arguments if "=" in a]
    asked = parse([a for a in arguments if not a.startswith("config=")])
    if asked.sweep:
        assert check_sweep(program, asked.overrides)
    else:
        compose(program, asked.overrides)


@pytest.mark.filterwarnings("ignore:.*declarative_base", "ignore:Implicitly cleaning up")  # optuna 2; W&B's media
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[] if page.name in QUICK else [pytest.mark.slow]) for page in RUNNABLE],
    ids=lambda page: page.name,
)
def test_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    reader = Reader(page, tmp_path, monkeypatch, capsys)
    heard = False  # whether the block before was run, so that what is shown as its output was said
    for block in blocks(page):
        if block.kind in ("text", "output"):
            if heard:
                reader.reads(block)
            continue
        if block.path is not None or block.kind == "yaml":
            continue
        heard = block.why is None
        if heard:
            (reader.shell if block.kind == "sh" else reader.python)(block)
    gc.collect()  # here, where what W&B leaves behind is no fault
