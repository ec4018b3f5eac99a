"""RouterDC's two contrasts prompt by prompt in plain Python, from the paper's formulas."""

import numpy as np


def with_members(similarity, rewards, top, last, failure=np.inf):
    """Mean over prompts with one of the sum over its best members of the loss against its worst ones."""
    total = []
    for row, s in zip(rewards, similarity, strict=True):
        there = np.flatnonzero(~np.isnan(row))
        half = max(len(there) // 2, 1)
        best = [m for m in there if np.sum(row[there] > row[m]) < min(half, top)]
        worst = [m for m in there if np.sum(row[there] < row[m]) < min(half, last) and row[m] <= failure]
        lost = [
            -np.log(np.exp(s[m]) / (np.exp(s[m]) + np.exp([s[n] for n in worst if row[n] < row[m]]).sum()))
            for m in best if any(row[n] < row[m] for n in worst)
        ]  # fmt: skip
        if lost:
            total.append(sum(lost))
    return np.mean(total), len(total)


def of_prompts(hidden, cluster, negatives):
    """Mean over pairs of one cluster."""
    lost, each = [], range(len(hidden))
    for i in each:
        others = [hidden[i] @ hidden[j] for j in each if cluster[j] != cluster[i]]
        for j in each:
            if i != j and cluster[i] == cluster[j]:
                s = np.exp(hidden[i] @ hidden[j])
                lost.append(-np.log(s / (s + negatives * np.mean(np.exp(others)))))
    return np.mean(lost)
