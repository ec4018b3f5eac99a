"""Tasks of the package reasoning-gym: made by a procedure from a seed, scored exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, zip_longest
from typing import Any

from pydantic import BaseModel, ConfigDict

from erp.collect.prompts.base import Prompt, PromptSet
from erp.errors import ErpError, shorten

_TRIES = 20  # a task with few distinct questions is asked for this many times as many before it counts as exhausted


class Task(BaseModel):
    """A task by name, with its own settings, e.g. ``{task: chain_sum, settings: {max_terms: 2}}``."""

    model_config = ConfigDict(extra="forbid")

    task: str
    settings: dict[str, Any] = {}


class ReasoningGym(PromptSet):
    """Equal shares of each task, category = task; what its scorer needs goes to ``reference``.

    Args:
        tasks: which tasks, each once.
        limit: prompts in all; the first tasks get one more where it does not divide.
        seed: of the generators.
    """

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
        per_task = [self._of(task, whole + (i < more)) for i, task in enumerate(self.tasks)]
        return (prompt for prompt in chain.from_iterable(zip_longest(*per_task)) if prompt is not None)

    def _of(self, task: Task, count: int) -> list[Prompt]:
        """Distinct questions of a task."""
        found: dict[str, Prompt] = {}
        if not count:
            return []
        data = self._dataset(task, count)
        for index in range(len(data)):
            entry = data[index]
            reference = {
                "scorer": "reasoning_gym", "task": task.task, "settings": task.settings,
                "answer": entry["answer"], "metadata": entry["metadata"],
            }  # fmt: skip
            text = json.dumps(reference, ensure_ascii=False, default=str)
            identity = f"{task.task}-{self.seed}-{index:05d}"
            found.setdefault(entry["question"], Prompt(entry["question"], identity, task.task, reference=text))
            if len(found) == count:
                break
        if len(found) < count:
            self.notes.append(f"{task.task} has only {len(found)} distinct questions with these settings")
        return list(found.values())

    def _dataset(self, task: Task, count: int) -> Any:
        return dataset(task.task, {**task.settings, "size": count * _TRIES, "seed": self.seed})


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
