"""EmbedLLM: whether a model answered a question rightly, a row an answer."""

from __future__ import annotations

from collections.abc import Iterator

from erp.importers.by_record import ByRecord, Values, scored
from erp.importers.fields import held, label, maybe_text, split_of, text
from erp.importers.ledger import Ledger
from erp.importers.records import Found


class EmbedLLM(ByRecord):
    """``train.csv``, ``val.csv`` and ``test.csv`` of the data set RZ412/EmbedLLM.

    Seen: the code that fetches and reads them (richardzhuang0412/EmbedLLM, ``algorithm/knn.py``), and that of others
    who name their columns: ``prompt_id``, ``model_id`` (a number), ``model_name``, ``category``, ``prompt``, ``label``
    (0 or 1). Not seen: the files. They have some prompts under several tasks, with labels that may differ: the first
    task is the category here. The publisher takes the higher label where an answer has two, and 0 where it has none;
    here two that differ are a fault (or samples, with ``repeats=samples``), and none is missing. ``model_order.csv``,
    ``question_order.csv`` and the tensors beside them hold nothing more.
    """

    patterns = ("train*.csv", "val*.csv", "test*.csv")
    harness = "EmbedLLM"
    reward = "correct"

    def __init__(self) -> None:
        self._category: dict[str, str | None] = {}

    def of_record(self, found: Found, ledger: Ledger) -> Iterator[Values]:
        """The one row."""
        values = found.values
        prompt, task = label(values, "prompt_id"), maybe_text(values, "category")
        category = self._category.setdefault(prompt, task)
        if category != task:
            ledger.note("Some prompts stand under several tasks; the first of them is the category.")
        yield {
            **scored(held(values, "label")),
            "prompt_id": prompt,
            "prompt": text(values, "prompt"),
            "model": label(values, "model_name" if "model_name" in values else "model_id"),
            "category": category,
            "split": split_of(found.file.last)[1],
        }
