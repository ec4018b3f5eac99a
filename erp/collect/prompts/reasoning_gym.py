"""Tasks of the package reasoning-gym: made by a procedure from a seed, scored exactly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any

from pydantic import BaseModel, ConfigDict

from erp.collect.prompts.base import Prompt, PromptSet
from erp.errors import ErpError, shorten

_TRIES = 20  # a task with few distinct questions is asked for this many times as many before it counts as exhausted


class Task(BaseModel):
    """A task by name, with its own settings, e.g. ``{task: chain_sum, settings: {max_terms: 2}}``.

    Attributes:
        category: of its prompts, where several tasks are one kind; None: the task itself.
    """

    model_config = ConfigDict(extra="forbid")

    task: str
    settings: dict[str, Any] = {}
    category: str | None = None


class ReasoningGym(PromptSet):
    """Equal shares of each task; what its scorer needs, the task's name among it, goes to ``reference``.

    Args:
        tasks: which tasks, each once.
        limit: prompts in all; the first tasks get one more where it does not divide.
        seed: of the generators.
    """

    fixed = True

    def __init__(self, tasks: list[Task], limit: int, seed: int = 0) -> None:
        super().__init__()
        names = [t.task for t in tasks]
        if limit < 1:
            raise ErpError(f"prompts.limit = {limit}: give 1 or more")
        if not tasks or len(set(names)) < len(names):
            raise ErpError(f"prompts.tasks = {shorten(names)}: name at least one task, and each once")
        self.tasks, self.limit, self.seed = tasks, limit, seed

    def prompts(self) -> Iterator[Prompt]:
        """Prompts, the tasks taking turns, so that every block of them holds every task."""
        whole, more = divmod(self.limit, len(self.tasks))
        counts = [whole + (i < more) for i in range(len(self.tasks))]
        asked = [(task, count) for task, count in zip(self.tasks, counts, strict=True) if count]
        order = [(t.task, t.settings, count, self.seed, t.category or t.task) for t, count in asked]
        per_task = _made(order)
        for (task, _, count, *_), prompts in zip(order, per_task, strict=True):
            if len(prompts) < count:
                self.notes.append(f"{task} has only {len(prompts)} distinct questions with these settings")
        return (prompt for prompt in chain.from_iterable(zip_longest(*per_task)) if prompt is not None)


Order = tuple[str, dict[str, Any], int, int, str]  # task, settings, how many, seed, category


def _made(orders: Sequence[Order]) -> list[list[Prompt]]:
    """The questions of each task, from a process of their own.

    Some generators walk through a Python set, whose order changes from process to process unless hashing is fixed: the
    same seed would give other questions, and a collection could not be gone on with.
    """
    for task, settings, *_ in orders:
        dataset(task, settings)  # a package, task or setting that is not there is refused here, in one line
    command = [sys.executable, "-m", "erp.collect.prompts.reasoning_gym"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, input=json.dumps(orders), env=environment, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ErpError(f"prompts: reasoning-gym made no questions ({reason}); change the tasks or their settings")
    return [[Prompt(**prompt) for prompt in prompts] for prompts in json.loads(done.stdout.splitlines()[-1])]


def _make(task: str, settings: dict[str, Any], count: int, seed: int, category: str) -> list[dict[str, Any]]:
    """Distinct questions of a task, as the arguments of ``Prompt``."""
    found: dict[str, dict[str, Any]] = {}
    data = dataset(task, {**settings, "size": count * _TRIES, "seed": seed})
    for index in range(len(data)):
        entry = data[index]
        reference = {
            "scorer": "reasoning_gym", "task": task, "settings": settings,
            "answer": entry["answer"], "metadata": entry["metadata"],
        }  # fmt: skip
        prompt = {
            "text": entry["question"], "prompt_id": f"{task}-{seed}-{index:05d}", "category": category,
            "reference": json.dumps(reference, ensure_ascii=False, default=str),
        }  # fmt: skip
        found.setdefault(entry["question"], prompt)
        if len(found) == count:
            break
    return list(found.values())


def dataset(task: str, settings: dict[str, Any]) -> Any:
    """A reasoning-gym dataset. Raises ErpError: the package, the task or a setting does not exist."""
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ModuleNotFoundError as error:
        raise ErpError(f"prompts: needs the package {error.name}; pip install 'erp[reasoning-gym]'") from None
    if task not in DATASETS:
        import difflib

        near = difflib.get_close_matches(task, DATASETS, n=3)
        hint = f"did you mean {shorten(near)}?" if near else f"there are {len(DATASETS)}, see reasoning-gym's gallery"
        raise ErpError(f"prompts.tasks = {task}: reasoning-gym has no such task; {hint}")
    try:
        return reasoning_gym.create_dataset(task, **settings)
    except (TypeError, AssertionError, ValueError) as error:
        raise ErpError(
            f"prompts.tasks.{task}.settings = {settings}: the task does not take them ({error}); see its configuration"
        ) from None


if __name__ == "__main__":
    print(json.dumps([_make(*order) for order in json.load(sys.stdin)]))  # noqa: T201  # read by `_made`
