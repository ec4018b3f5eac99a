"""Audits: does length buy reward, do paraphrases go the same way, do splits leak, do reward models agree?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.evaluation.held_out import HeldOut, plain
from erp.metrics.consistency import paraphrase_consistency
from erp.metrics.length import LengthBias


def length_section(found: LengthBias) -> dict[str, Any]:
    """The audit ``length_bias``."""
    return {
        "between": plain(found.between),
        "between_reason": found.between_reason,
        "within": plain(found.within),
        "within_reason": found.within_reason,
        "samples": found.samples,
    }


def consistency_section(held_out: HeldOut, texts: NDArray[np.object_]) -> dict[str, Any] | None:
    """The audit ``paraphrases``: choices at lambda = 0 within groups of prompts; None where no group has two texts.

    Args:
        held_out: N prompts.
        texts: (N,) their texts.
    """
    chosen = held_out.choice(0.0).weights.argmax(axis=1)
    found = paraphrase_consistency(chosen, held_out.scores, held_out.groups, texts)
    return None if found is None else asdict(found)
