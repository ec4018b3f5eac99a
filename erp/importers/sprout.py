"""SPROUT: a row a prompt, and of each model a score, its response and its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from erp.errors import shorten
from erp.importers.by_record import ByRecord, Values, scored
from erp.importers.fields import Misread, label, maybe_text, split_of, text
from erp.importers.ledger import Ledger
from erp.importers.records import Found


class Sprout(ByRecord):
    """``data/{train,validation,test}-*.parquet`` of the data sets CARROT-LLM-Routing/SPROUT and SPROUT-o3mini.

    Seen: the publisher's code that reads them (somerstep/CARROT, ``carrot/gen_sprout.py``) and that of others who name
    every column: ``key``, ``dataset``, ``dataset_level``, ``dataset_idx``, ``prompt``, ``golden_answer``, and for each
    model a column of objects: ``score`` (a judge's, 0 to 1, perhaps null), ``response``, ``num_input_tokens``,
    ``num_output_tokens``. Not seen: the files. They hold no costs.
    """

    patterns = ("*.parquet",)
    harness = "SPROUT"
    reward = "judge_score"

    def of_record(self, found: Found, ledger: Ledger) -> Iterator[Values]:
        """A row for every column of objects; null in one is a response that nobody has."""
        del ledger
        values = found.values
        told = {name: value for name, value in values.items() if isinstance(value, Mapping) and "score" in value}
        if not told:
            raise Misread("no column of objects with a score", f"there are {shorten(values)}")
        shared = {
            "prompt_id": label(values, "key"),
            "prompt": text(values, "prompt"),
            "category": maybe_text(values, "dataset"),
            "split": split_of(found.file.last)[1],
        }
        for model, value in told.items():
            yield {
                **shared,
                **scored(value["score"]),
                "model": model,
                "response": maybe_text(value, "response"),
                "prompt_tokens": value.get("num_input_tokens"),
                "completion_tokens": value.get("num_output_tokens"),
            }
