"""``python static.py MINILM FOLDER``: a static model of MiniLM's own, for ``backbone=static backbone.model=FOLDER``.

Each token of MiniLM's vocabulary is read by itself, reduced to 256 numbers and weighted by how rare it is, as
model2vec does with its defaults. Needs ``model2vec[distill]``.
"""

from __future__ import annotations

import sys

import numpy as np
from model2vec.distill import distill


def main() -> None:
    """Distil the encoder in the first folder into the second."""
    encoder, folder = sys.argv[1:]
    model = distill(encoder, device="cpu", trust_remote_code=False)
    assert np.isfinite(model.embedding).all()
    model.save_pretrained(folder)


if __name__ == "__main__":
    main()
