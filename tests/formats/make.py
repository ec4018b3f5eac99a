"""Makes a folder of old forms: `python -m tests.formats.make FOLDER`, with the code whose forms are to be kept.

Made once for each form that has ever been on users' disks, and never again: what lies beside this file was written by
the code of its time, and tests hold later code to open it with the same numbers.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from erp.collect.rewards.base import Pair, RewardAdapter
from erp.config import Member
from erp.engines.base import Engine, Failure, Request, Response
from tests.backbones.tiny_encoders import tiny_encoder
from tests.formats.answers import everything, runs, said

WORDS = ["amber", "basil", "cedar", "dune", "ember", "fjord", "grove", "haze"]
MEMBERS = {"small": 1e8, "middle": 5e8, "big": 3e9, "late": 2e9}  # active parameters


class Answers(Engine):
    """Answers with as many letters as a member's luck with a prompt's words gives."""

    def generate(
        self, requests: Sequence[Request], member: Member, k: int
    ) -> Iterator[tuple[int, list[Response] | Failure]]:
        for i, request in enumerate(requests):
            text = request.messages[-1]["content"]
            luck = np.random.default_rng(list(MEMBERS).index(member.name))
            skill = dict(zip(WORDS, luck.uniform(0, 6, len(WORDS)), strict=True))
            mean = np.mean([skill[word] for word in text.split()])
            drawn = np.random.default_rng([request.seed % 2**32, len(text)])
            lengths = drawn.poisson(mean + 1, size=k)
            yield i, [Response("a" * n, len(text.split()), n + 1, "stop") for n in map(int, lengths)]


class Length(RewardAdapter):
    """The length of a response, less a little for each word of the prompt."""

    def about(self) -> dict[str, object]:
        return {}

    def score(self, pairs: Sequence[Pair]) -> list[float | Failure | None]:
        return [len(pair.response) - 0.125 * len(pair.prompt.split()) for pair in pairs]


def collect(home: Path) -> None:
    """A table of 140 prompts, four members and three samples."""
    rng = np.random.default_rng(0)
    prompts = [" ".join(rng.choice(WORDS, size=int(rng.integers(3, 7)))) for _ in range(140)]
    rows = [{"prompt_id": f"p{i}", "prompt": text, "category": text.split()[0]} for i, text in enumerate(prompts)]
    (home / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("engine/answers", "reward_model/length"):
        file = home / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        kind = file.stem
        file.write_text(
            yaml.safe_dump(
                {"_target_": f"tests.formats.make.{kind.capitalize()}", **({"name": kind} if kind == "length" else {})}
            )
        )
    members = ", ".join(f"{{name: {name}, active_parameters: {size:.0f}}}" for name, size in MEMBERS.items())
    said(
        "collect", f"--config-dir={home / 'conf'}", "prompts=jsonl", f"prompts.path={home / 'prompts.jsonl'}",
        "pool=all", f"pool.members=[{members}]", "engine=answers", "reward_model=length", "k=3", "block=140",
        f"out={home}", "name=table", "progress=false",
    )  # fmt: skip
    shutil.rmtree(home / "conf")
    (home / "prompts.jsonl").unlink()


def train(home: Path) -> None:
    """A sweep of closed forms, a network, policies that keep a state, a fine-tuned encoder, a router with one more."""
    common = [
        "train", "data=table", f"data.path={home / 'table'}", "pool.members=[small, middle, big]",
        "tracking=off", "figures=false", "bootstrap.draws=100",
        "trainer.progress=false", "trainer.accelerator=cpu", f"out={home / 'runs'}", f"cache_dir={home / 'cache'}",
    ]  # fmt: skip
    hashing = [*common, "backbone=hashing", "backbone.dimensions=32"]
    said(*hashing, "-m", "router=ridge,category_mean", "sweep=first")
    said(*hashing, "router=mlp", "router.hidden=[6]", "trainer.max_epochs=4", "policy.lambda=0.2", "cost.predict=true")
    said(*hashing, "router=kernel_ridge", "policy=guarantee", "policy.tolerated_loss=2.0", "policy.alpha=0.3")
    said(*hashing, "router=knn", "policy=guarded", "policy.z=0.5")
    said(*common, "router=mean_and_spread", "policy=budget", "backbone=tfidf", "backbone.dimensions=8")
    encoder = tiny_encoder(home / "bert", "bert", "mean")
    shutil.rmtree(home / "bert-plain", ignore_errors=True)
    said(
        *common, "backbone=minilm", f"backbone.model=tiny/{encoder.name}", f"weights_dir={home}",
        "backbone.sha256=null", "backbone.package=null", "backbone.finetune=true",
        "router=low_rank", "trainer=finetune", "trainer.max_epochs=2", "trainer.batch_size=16",
    )  # fmt: skip
    base = runs(home)["ridge-hashing"]
    said("extend", f"run={base}", "labels=30", "method=low_rank", f"out={home / 'runs'}", f"cache_dir={home / 'cache'}")


def main(folder: Path) -> None:
    """Make it, ask it, and keep what a user's folder would still hold."""
    folder.mkdir(parents=True)
    os.chdir(folder)
    collect(folder)
    train(folder)
    told = everything(folder)
    shutil.rmtree(folder / "cache")
    for made in ("evaluations", "comparisons", "extended", "asked.jsonl", "figures", ".hydra"):
        for path in folder.rglob(made):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("report.*", "*.lock", "last.ckpt"):
        for path in folder.rglob(name):
            path.unlink()
    (folder / "answers.json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
