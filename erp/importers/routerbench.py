"""RouterBench: a wide frame, a row a prompt and three columns a model."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from erp.errors import shorten
from erp.importers.by_record import ByRecord, Values, scored
from erp.importers.fields import Misread, is_missing, known_cost, label, maybe_text, text
from erp.importers.ledger import Ledger
from erp.importers.records import Found

_COST, _RESPONSE = "|total_cost", "|model_response"


class RouterBench(ByRecord):
    """``routerbench_0shot.pkl`` and ``_5shot.pkl`` of withmartian/routerbench, or the same frame as csv or parquet.

    Seen: the code that writes the frame (withmartian/routerbench, ``convertors/common.py``), and parts of it as csv
    (shuhao02/RouterDC, ``datasets/routerbench_zs``): ``sample_id``, ``prompt`` (a list of turns, as Python prints it),
    ``eval_name``, of each model its score under its name, ``<model>|model_response`` and ``<model>|total_cost`` (USD),
    and ``oracle_model_to_route_to``, which is left alone. An id whose models were asked two texts has a row for each.
    Not seen: the pickles. ``routerbench_raw.pkl``, a row a response, is another layout and not read.
    """

    patterns = ("*.pkl", "*.pickle", "*.csv", "*.parquet")
    harness = "RouterBench"
    reward = "score"

    def of_record(self, found: Found, ledger: Ledger) -> Iterator[Values]:
        """A row for every model that has a column of costs or responses beside that of its score."""
        values = found.values
        named = [key.removesuffix(end) for key in values for end in (_COST, _RESPONSE) if key.endswith(end)]
        models = [name for name in dict.fromkeys(named) if name in values]
        if not models:
            raise Misread(f"no columns <model> and <model>{_COST}", f"there are {shorten(values)}")
        shared = {
            "prompt_id": label(values, "sample_id"),
            "prompt": text({"prompt": _turns(values.get("prompt"))}, "prompt"),
            "category": maybe_text(values, "eval_name"),
        }
        for model in models:
            response = maybe_text(values, f"{model}{_RESPONSE}")
            if response is None and is_missing(values[model]):  # a row of the frame is of those who were asked its text
                continue
            cost = known_cost(values.get(f"{model}{_COST}"), response is not None, ledger)
            yield {**shared, **scored(values[model]), "model": model, "response": response, "cost_usd": cost}


def _turns(prompt: object) -> object:
    """A prompt's text; where it is a list of turns, perhaps as Python prints one, these below each other."""
    if isinstance(prompt, str) and prompt.startswith(("['", '["')):
        try:
            prompt = ast.literal_eval(prompt)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return prompt
    if isinstance(prompt, list | tuple | np.ndarray) and all(isinstance(turn, str) for turn in prompt):
        return "\n".join(prompt)
    return prompt
