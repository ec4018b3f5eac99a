"""``python -m benchmarks.by_hand TABLE FOLDER``: a router as one would write it, with pandas and scikit-learn.

No near-duplicates are looked for, nothing is checked and no interval is made. Features are given: they are made once.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import RidgeCV

DIMENSION = 1024
ALPHAS = np.logspace(-3, 4, 8)


def main() -> None:
    """Fit on a half of the prompts, route the other half, print what it earns."""
    table, folder = Path(sys.argv[1]), Path(sys.argv[2])
    rows = pd.read_parquet(table)
    means = rows.groupby(["prompt_id", "model"])["reward"].mean().unstack()  # noqa: PD010 - one row a cell is left
    saved = folder / "features.npy"
    if not saved.exists():
        texts = rows.groupby("prompt_id")["prompt"].first()
        np.save(saved, HashingVectorizer(n_features=DIMENSION, dtype=np.float32).transform(texts).toarray())
    features = np.load(saved)
    order = np.random.default_rng(0).permutation(len(means))
    train, test = np.array_split(order, 2)
    model = RidgeCV(ALPHAS).fit(features[train], means.to_numpy()[train])
    chosen = model.predict(features[test]).argmax(axis=1)
    print(means.to_numpy()[test][np.arange(len(test)), chosen].mean(), means.to_numpy()[test].mean(axis=0).max())


if __name__ == "__main__":
    main()
