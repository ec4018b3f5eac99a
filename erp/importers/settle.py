"""When all rows are known: which repeat others, which sample each is, and the folder that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from erp.importers.gather import Gathered, Repeats
from erp.table.schema import MEASURE_COLUMNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from erp.importers.ledger import Ledger
    from erp.table.write import TableWriter

_ROWS = 1 << 18  # that are settled at once
STATES = ("scored", "missing", "errors")
NONE = "(none)"  # what the coverage calls prompts without a category


def sample_numbers(gathered: Gathered, repeats: Repeats, ledger: Ledger) -> NDArray[np.int64]:
    """Which sample of its cell every row is (n,), -1 for those that are left out: repeats, and contradictions.

    Args:
        gathered: all rows.
        repeats: what becomes of rows without a number that share their prompt and member: ``samples`` numbers them in
            order; ``error`` reads equal ones once, and others contradict each other.
        ledger: is told of both.
    """
    number = np.zeros(len(gathered), dtype=np.int64)
    ids, names = gathered.documents.ids(), gathered.members.texts
    for _, block in gathered.keys.blocks(_ROWS):
        rows = pd.DataFrame(block).sort_values(["prompt", "member", "numbered", "sample", "row"], ignore_index=True)
        cell = rows.groupby(["prompt", "member"], sort=False)
        mixed = cell["numbered"].transform("max") & ~rows["numbered"]
        if repeats == "samples":
            order = rows.groupby(["prompt", "member", "numbered"], sort=False).cumcount()
            rows["sample"] = rows["sample"].where(rows["numbered"], order)
        same = rows.groupby(["prompt", "member", "numbered", "sample"], sort=False)
        again = same.cumcount() > 0
        rows["clash"] = rows["content"] != same["content"].transform("first")
        clash = same["clash"].transform("max")  # none of them is taken: nobody knows which is right
        ledger.leave_out("rows that repeat another wholly", int((again & ~clash).sum()))
        for reason, bad in (
            ("two different rows of one prompt, member and sample", clash & rows["numbered"]),
            ("two different rows of one prompt and member; repeats=samples takes them for samples",
             clash & ~rows["numbered"]),
            ("a row without a sample number beside rows that have one", mixed & ~again & ~clash),
        ):  # fmt: skip
            for prompt, member in rows.loc[bad, ["prompt", "member"]].itertuples(index=False):
                ledger.fault(reason, f"prompt_id {ids[prompt]}, member {names[member]}")
        out = again | mixed | clash
        number[rows["row"].to_numpy()] = np.where(out, -1, rows["sample"])
    if not ledger.left_out["rows that repeat another wholly"]:
        del ledger.left_out["rows that repeat another wholly"]
    return number


def write_rows(gathered: Gathered, number: NDArray[np.int64], writer: TableWriter) -> dict[str, Any]:
    """Write what is kept of all rows and their prompts; returns the facts of the table.

    Returns:
        prompts, samples, members, samples_per_cell (fewest and most, scored), coverage: member -> category -> how many
        rows are scored, missing and errors; missing: reason -> rows without a score; and without_text: rows of prompts
        whose text is not known.
    """
    documents, names = gathered.documents, np.array(gathered.members.texts, dtype=object)
    ids, has_text = documents.ids(), documents.has_text
    of_prompt, categories = documents.categories
    labels = list(dict.fromkeys([*categories, NONE]))
    of_prompt = np.where(of_prompt < 0, labels.index(NONE), of_prompt)
    used = np.zeros(len(documents), dtype=bool)
    seen = np.zeros((len(names), len(labels), len(STATES)), dtype=np.int64)
    scored = np.zeros(len(documents) * len(names), dtype=np.int32)
    without_text, reasons = 0, np.zeros(len(gathered.reasons), dtype=np.int64)
    for start, rows in gathered.rows():
        rows["sample"] = number[start : start + len(rows)]
        kept, asked = rows["sample"].to_numpy() >= 0, has_text[rows["prompt"].to_numpy()]
        without_text += int((kept & ~asked).sum())
        rows = rows[kept & asked]
        reason = rows.pop("reason").to_numpy()
        reasons += np.bincount(reason[reason >= 0], minlength=len(reasons))
        prompt, member = rows.pop("prompt").to_numpy(), rows.pop("member").to_numpy()
        failed, there = rows.pop("failed").to_numpy(dtype=bool), rows["reward"].notna().to_numpy()
        used[prompt] = True
        state = np.where(there, 0, np.where(failed, 2, 1))
        np.add.at(seen, (member, of_prompt[prompt], state), 1)
        np.add.at(scored, prompt * len(names) + member, there)
        if len(rows):
            known = [*MEASURE_COLUMNS, "response", "finish_reason"]
            out = rows[["sample", "reward", "n_samples", *known]]
            out.insert(0, "prompt_id", pd.Series(ids[prompt], index=rows.index, dtype="str"))
            out.insert(1, "model", pd.Series(names[member], index=rows.index, dtype="str"))
            writer.add_samples(out)
    for frame in documents.frames(used):
        writer.add_prompts(frame)
    cells = scored[scored > 0]
    order = np.argsort(names)
    return {
        "prompts": int(used.sum()),
        "samples": int(seen.sum()),
        "members": [str(names[m]) for m in order.tolist() if seen[m].any()],
        "samples_per_cell": [int(cells.min()), int(cells.max())] if len(cells) else [0, 0],
        "coverage": {
            str(names[m]): {
                labels[c]: dict(zip(STATES, seen[m, c].tolist(), strict=True))
                for c in sorted(range(len(labels)), key=labels.__getitem__) if seen[m, c].any()
            }
            for m in order.tolist() if seen[m].any()
        },
        "missing": {why: n for why, n in sorted(zip(gathered.reasons.texts, reasons.tolist(), strict=True)) if n},
        "without_text": without_text,
    }  # fmt: skip
