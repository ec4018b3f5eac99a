"""Small tables as users have them, and what a run folder says."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from erp.table.synthetic import Synthetic


def long_frame(prompts=240, members=3, samples=2, seed=0, **options) -> pd.DataFrame:
    """A synthetic table as one long frame, as users have them."""
    table, _ = Synthetic(prompts=prompts, members=members, samples=samples, seed=seed, **options).draw()
    frame = table.samples.merge(table.prompts, left_on="prompt", right_index=True, suffixes=("", "_text"))
    frame["model"] = np.array(table.members, dtype=object)[frame["member"]]
    columns = ["prompt_id", "category", "model", "sample", "reward", "prompt_tokens", "completion_tokens", "cost_usd"]
    return frame[columns].assign(prompt=frame["prompt_text"]).reset_index(drop=True)


def results(folder: str | Path) -> dict:
    return json.loads((Path(folder) / "results.json").read_text())
