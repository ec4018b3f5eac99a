"""Whether scores are of the responses that a folder holds: a hash of the text it was given for stands beside each."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet

from erp.errors import ErpError
from erp.table.folder import KEYS, Scores
from erp.table.texts import text_hash

RESPONSE_HASH = "response_hash"


def response_hash(response: str) -> str:
    """First 16 hexadecimal digits of the text's SHA-256."""
    return text_hash(response)[:16]


def of_other_texts(scored: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Keys of the scores that were given for another text than the sample now has.

    Args:
        scored: KEYS and the hashes; a score without one is believed.
        samples: KEYS and the responses.
    """
    both = scored.dropna(subset=RESPONSE_HASH).merge(samples.dropna(subset="response"), on=KEYS)
    hashes = {text: response_hash(text) for text in both["response"].unique()}
    return both.loc[both["response"].map(hashes) != both[RESPONSE_HASH], KEYS]


def check_scores(root: Path, scores: Scores) -> None:
    """Refuse scores of texts that are not there any more.

    A part of samples that is older than the scores beside it has not changed since, and is not read. A copy of a folder
    that does not keep the files' times is read each time.

    Raises:
        ErpError: some scores are of other responses.
    """
    count, first = 0, ""
    sampled: dict[str, list[Path]] = {}
    for part in sorted((root / "samples").glob("part-*.parquet")):
        sampled.setdefault(part.stem.rpartition("-")[2], []).append(part)
    for part in sorted(scores.folder.glob("part-*.parquet")):
        since = part.stat().st_mtime_ns
        younger = [one for one in sampled.get(part.stem.rpartition("-")[2], []) if one.stat().st_mtime_ns >= since]
        try:
            if not younger or RESPONSE_HASH not in pyarrow.parquet.read_schema(part).names:
                continue
            scored = pd.read_parquet(part, columns=[*KEYS, RESPONSE_HASH])
            others = [of_other_texts(scored, pd.read_parquet(one, columns=[*KEYS, "response"])) for one in younger]
        except (OSError, pyarrow.ArrowException):  # told where the parts are read for what they hold
            continue
        found = pd.concat(others)
        if len(found):
            count, first = count + len(found), first or ", ".join(map(str, found.iloc[0]))
    if count:
        raise ErpError(
            f"data.path = {root}: {count:,} scores by {scores.reward_model} are of other responses than its samples "
            f"hold, the first is ({first}); score them: the same erp collect with steps=[score]"
        )
