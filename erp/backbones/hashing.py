"""Hashed bag of words: no weights, the floor that an encoder has to beat."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

from erp.backbones.base import Backbone
from erp.errors import ErpError

MOST = 2**31 - 1  # what scikit-learn counts to


class HashingBackbone(Backbone):
    """scikit-learn's ``HashingVectorizer``, dense.

    Args:
        dimensions: length of the vectors.
        ngram_max: longest run of words counted as one feature.
    """

    at_once = 4096  # a tenth of a second

    def __init__(self, dimensions: int = 1024, ngram_max: int = 1) -> None:
        for name, value in (("dimensions", dimensions), ("ngram_max", ngram_max)):
            if not 1 <= value <= MOST:
                raise ErpError(f"backbone.{name} = {value}: give 1 to {MOST}")
        self.dimensions = dimensions
        self.ngram_max = ngram_max

    def fingerprint(self) -> str:
        """Class and settings; hashing depends on nothing else."""
        return f"{self.kind()} dimensions={self.dimensions} ngram_max={self.ngram_max}"

    def embed(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Signed word counts, hashed, (n, dimensions)."""
        from scipy.sparse import csr_array
        from sklearn.feature_extraction.text import HashingVectorizer

        vectorizer = HashingVectorizer(
            n_features=self.dimensions, ngram_range=(1, self.ngram_max), dtype=np.float32, norm=None
        )
        # No word goes beyond white space: what stands between is hashed once, and counted in every prompt.
        pieces = [prompt.split() if self.ngram_max == 1 else [prompt] for prompt in prompts]
        number: defaultdict[str, int] = defaultdict(count(1).__next__, {"": 0})  # the vectorizer wants a text
        numbers = np.fromiter(map(number.__getitem__, chain.from_iterable(pieces)), dtype=np.int64)
        starts = np.cumsum([0, *map(len, pieces)])
        counts = csr_array((np.ones(len(numbers), dtype=np.float32), numbers, starts), (len(prompts), len(number)))
        return np.asarray((counts @ vectorizer.transform(number)).toarray(), dtype=np.float32)
