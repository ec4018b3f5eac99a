"""Any backbone, its vectors kept in half the room."""

from __future__ import annotations

from erp.backbones.base import Backbone
from erp.backbones.joined import JoinedBackbone
from erp.backbones.windows import Long


class HalfBackbone(JoinedBackbone):
    """The vectors of a backbone in 16 bits on disk: half the room, and half to read.

    A number of a vector of length one is then off by at most 1 in 2,048 of itself, a cosine by less than .001 (of 1,500
    prompts' hashed words by .00003 on average). The router learns from the rounded vectors, and gets such when it
    serves.

    Args:
        part: a backbone; in a config, its node (``_target_`` and arguments).
        active_parameters: as of the part: what routing a prompt costs in FLOPs. It changes no embedding.
        long: what is read of a prompt longer than its window; None: what the part says.
    """

    kept = "float16"

    def __init__(self, part: Backbone, active_parameters: float | None = None, long: Long | None = None) -> None:
        super().__init__([part], None, active_parameters, long)
