"""``python -m benchmarks.serving PART ...``: what `erp serve` adds to a call, beside a direct one and LiteLLM's proxy.

Parts: ``load`` (200 requests a second, 64 connections), ``slow`` (50), ``few`` (16 connections), ``encoder`` (one
prompt: minilm_onnx beside minilm), ``busy`` (one prompt while another process keeps a core busy). Each writes its
section of ``benchmarks/SERVING.md``. Callers, gateway, proxy and the members' server are processes of one machine; ways
take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from benchmarks.__main__ import machine
from benchmarks.loopback import (
    PATIENCE_S,
    WORDS,
    Answer,
    asked,
    cpu_s,
    end_in_order,
    gateway,
    instant,
    litellm,
    process,
    prompts,
    trained,
    write,
)  # fmt: skip
from erp import threads
from erp.backbones.base import Backbone, build_backbone
from erp.compose import conf_folder
from erp.table.mini import MINI
from erp.trained.router import load

RATE, SLOWER, TURN_S = 200, 50, 10
AT = (0.5, 0.95, 0.99)
DIRECT = "direct"


@dataclass
class Way:
    """One way for a request to go.

    Attributes:
        url, model: who is asked, for what.
        pid: the process between caller and server.
        path: what the gateway says of a request that went as it should.
        turns: answers, turn by turn.
        cpu: seconds that the process took for them.
    """

    url: str
    model: str
    pid: int
    path: str = ""
    turns: list[list[Answer]] = field(default_factory=list)
    cpu: float = 0.0

    def take_turn(self, texts: list[str], callers: int, rate: float | None) -> None:
        """Ask all texts."""
        before = cpu_s(self.pid)
        self.turns.append(asyncio.run(asked(self.url, self.model, texts, callers, rate)))
        self.cpu += cpu_s(self.pid) - before

    def quantiles(self) -> np.ndarray:
        """Milliseconds, by turn and quantile."""
        return np.array([np.quantile([answer.ms for answer in turn], AT) for turn in self.turns])

    @property
    def answers(self) -> list[Answer]:
        """Those of all turns."""
        return [answer for turn in self.turns for answer in turn]


def measured(found: dict[str, Way], callers: int, rate: float | None, texts: list[str], turns: int) -> list[str]:
    """The ways in turn, as a table."""
    for way in found.values():
        way.turns, way.cpu = [], 0.0
        asyncio.run(asked(way.url, way.model, texts[: RATE // 2], callers, rate))  # connections, and what is made once
    for _ in range(turns):
        for way in found.values():
            way.take_turn(texts, callers, rate)
    lines = ["| way | requests | p50, ms | p95 | p99 | added p50 | added p95 | added p99 (turns) | CPU, ms a request | "
             "requests/s | not so, or failed |", "|---|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    base = found[DIRECT]
    for name, way in found.items():
        took = np.quantile([answer.ms for answer in way.answers], AT)
        added = took - np.quantile([answer.ms for answer in base.answers], AT)
        by_turn = (way.quantiles() - base.quantiles())[:, 2]
        more = [f"{ms:.1f}" for ms in added]
        more[2] += f" ({by_turn.min():.1f} to {by_turn.max():.1f})"
        n = len(way.answers)
        # By Little's law of a closed loop; an open one is asked at its rate.
        a_second = rate or callers / np.mean([answer.ms for answer in way.answers]) * 1e3
        other = sum(answer.status != 200 or answer.path != way.path for answer in way.answers)
        cells = [name, f"{n:,}", *(f"{ms:.1f}" for ms in took), *(["-"] * 3 if way is base else more),
                 f"{way.cpu / n * 1e3:.2f}", f"{a_second:.0f}", f"{other / n:.1%}"]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def ways(stack: ExitStack, options: argparse.Namespace, folder: Path) -> dict[str, Way]:
    """Everything started, by name."""
    run = options.run or trained("minilm_onnx", folder)
    url, server = stack.enter_context(instant())
    at, pid, (member, *_) = stack.enter_context(gateway(run, url, folder))
    found = {
        DIRECT: Way(url, member, server),
        "`erp serve`, a member by name": Way(at, member, pid, "named"),
        "`erp serve`, routed": Way(at, "erp/auto", pid, "routed"),
    }
    if options.litellm:
        proxy, pid = stack.enter_context(litellm(options.litellm, url, folder))
        said = subprocess.run([options.litellm, "-m", "pip", "show", "litellm"], capture_output=True, text=True).stdout
        version = next((line.split()[1] for line in said.splitlines() if line.startswith("Version")), "")
        found[f"LiteLLM {version}, proxy"] = Way(proxy, "m", pid)
    return found


def load_part(options: argparse.Namespace, folder: Path, rate: int) -> tuple[str, list[str]]:
    """An open loop at 64 connections."""
    with ExitStack() as stack:
        found = ways(stack, options, folder)
        turns = math.ceil(options.seconds / TURN_S)
        lines = measured(found, 64, rate, prompts(rate * TURN_S), turns)
    what = (
        "`router=ridge backbone=minilm_onnx` on the table that ships, one worker, pins in a file, a decision log; "
        f"prompts of {WORDS} words. {rate} requests a second for {turns * TURN_S} s each way, in turns of {TURN_S} s; "
        "a request's time runs from when it was due. CPU is that of the process between caller and server (direct: "
        "the server). The last column counts answers other than 200, requests that found no free connection for "
        f"{PATIENCE_S} s and, where a request was to be routed, answers by the best constant."
    )
    return f"{rate} requests a second, 64 connections", [what, "", machine()[0], "", *lines]


def few_part(options: argparse.Namespace, folder: Path) -> tuple[str, list[str]]:
    """Both loops at 16 connections."""
    with ExitStack() as stack:
        found = ways(stack, options, folder)
        steady = measured(found, 16, RATE, prompts(RATE * TURN_S), max(1, options.seconds // 2 // TURN_S))
        closed = measured(found, 16, None, prompts(1000), 3)
    return "16 connections", [
        machine()[0], "", f"{RATE} requests a second, otherwise as above:", "", *steady, "",
        "Each connection asks again as soon as it is answered: a request waits for the 15 others, and what is added is "
        "about 16 times the CPU that a request takes.", "", *closed,
    ]  # fmt: skip


def backbone(name: str) -> Backbone:
    """As its option file has it."""
    return build_backbone(yaml.safe_load((conf_folder() / "backbone" / f"{name}.yaml").read_text()), None)


def timed(call: Callable[[list[str]], object], text: str) -> tuple[float, float]:
    """Milliseconds of wall clock, and of CPU, for one prompt."""
    wall, cpu = time.perf_counter(), time.process_time()
    call([text])
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def encoder_part(options: argparse.Namespace, _: Path) -> tuple[str, list[str]]:
    """One prompt, on one thread, both encoders in turn."""
    torch.set_num_threads(1)
    both = [backbone(name).embed for name in ("minilm", "minilm_onnx")]
    mini = pd.read_parquet(MINI / "prompts.parquet")["prompt"].sample(options.calls, random_state=0).tolist()
    lines = ["| words of a prompt | minilm, ms | minilm_onnx, ms | ratio | minilm, ms of CPU | minilm_onnx | ratio |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    median = np.median([len(text.split()) for text in mini])
    asked_of = {f"`mini`'s own, {median:.0f} at the median": mini} | {
        str(words): [" ".join((text * 4).split()[:words]) for text in prompts(options.calls)] for words in (10, 40, 120)
    }
    for words, texts in asked_of.items():
        took = np.array([[timed(embed, text) for embed in both] for text in texts])
        cells = [words]
        for old, new in np.median(took[len(took) // 20 :], axis=0).T:
            cells += [f"{old:.1f}", f"{new:.1f}", f"{new / old:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    what = f"`embed([prompt])` of both in one process, in turn, on one thread: medians of {options.calls} prompts."
    return "One prompt: minilm_onnx beside minilm", [what, "", machine()[0], "", *lines]


def busy_part(options: argparse.Namespace, folder: Path) -> tuple[str, list[str]]:
    """One prompt, with and without another process that keeps a core busy, in turn."""
    lines = ["| backbone | threads | quiet: p50, ms | a core busy: p50, ms | p95, ms | p50, times quiet |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    texts = iter(prompts(10**5, seed=1))
    for name in ("minilm", "minilm_onnx"):
        router = load(trained(name, folder))
        router.route([next(texts)])
        few = {threads.FEW: "1", 0: f"{torch.get_num_threads()}, as before"}  # 0: no batch is small
        took: dict[tuple[int, bool], list[float]] = defaultdict(list)
        for fewest, busy in [*itertools.product(few, (False, True))] * 3:
            threads.FEW = fewest
            with process([sys.executable, "-c", "while True: pass"]) if busy else nullcontext():
                time.sleep(0.3)
                took[fewest, busy] += [timed(router.route, next(texts))[0] for _ in range(options.calls // 3)]
        threads.FEW = max(few)
        for fewest, words in few.items():
            quiet, beside = np.median(took[fewest, False]), np.median(took[fewest, True])
            late = np.quantile(took[fewest, True], 0.95)
            lines.append(f"| {name} | {words} | {quiet:.1f} | {beside:.1f} | {late:.1f} | {beside / quiet:.2f} |")
    what = (
        "`erp.load(run).route([prompt])` in a program that sets nothing of OpenMP's, alone and while another process "
        "keeps a core busy, in turn."
    )
    return "One prompt beside a busy process", [what, "", machine()[0], "", *lines]


PARTS = {
    "load": partial(load_part, rate=RATE),
    "slow": partial(load_part, rate=SLOWER),
    "few": few_part,
    "encoder": encoder_part,
    "busy": busy_part,
}


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("part", nargs="+", choices=PARTS)
    parser.add_argument("--litellm", help="python of an environment with litellm[proxy], to be measured too")
    parser.add_argument("--run", type=Path, help="a run to serve, in place of one that is trained first")
    parser.add_argument("--seconds", type=int, default=60, help="of load, each way")
    parser.add_argument("--calls", type=int, default=200, help="of each kind, of encoder and busy")
    options = parser.parse_args()
    end_in_order()
    for part in options.part:
        with tempfile.TemporaryDirectory() as name:
            write(*PARTS[part](options, Path(name)))


if __name__ == "__main__":
    main()
