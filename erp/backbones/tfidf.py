"""TF-IDF and a truncated SVD (latent semantic analysis), learnt from the train prompts: no weights, no download."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from erp.backbones.base import Backbone, plain_text
from erp.errors import ErpError

_ITERATIONS = 10  # power iterations of the randomised SVD: more than scikit-learn's 4, as nothing here is slow
_VERSION = 1  # raise it with any change of how is learnt: what was kept would be of the old way
_NOTHING = 1e-6  # a singular value that is rounding beside the largest


@dataclass(frozen=True, eq=False)
class _Learnt:
    """What the train prompts taught.

    Attributes:
        terms: words and runs of words, in the order of the columns.
        idf: (terms,) float64.
        components: (d, terms) float32, rows orthonormal.
    """

    terms: list[str]
    idf: NDArray[np.float64]
    components: NDArray[np.float32]

    def hash(self) -> str:
        content = hashlib.sha256("\n".join(self.terms).encode())
        content.update(self.idf.tobytes())
        content.update(self.components.tobytes())
        return content.hexdigest()


class TfidfBackbone(Backbone):
    """Latent semantic analysis (Deerwester et al. 1990): log-scaled TF-IDF rows, on their leading singular vectors.

    Args:
        dimensions: length of the vectors; fewer where the train prompts span fewer.
        ngram_max: longest run of words counted as one term.
        vocabulary: terms kept at most: the most frequent in the train prompts.
        seed: of the randomised SVD (Halko, Martinsson and Tropp 2011).
    """

    def __init__(self, dimensions: int = 256, ngram_max: int = 1, vocabulary: int = 20_000, seed: int = 0) -> None:
        for name, value in (("dimensions", dimensions), ("ngram_max", ngram_max), ("vocabulary", vocabulary)):
            if value < 1:
                raise ErpError(f"backbone.{name} = {value}: give 1 or more")
        self.dimensions, self.ngram_max, self.vocabulary, self.seed = dimensions, ngram_max, vocabulary, seed
        self._learnt: _Learnt | None = None

    def fit(self, prompts: Sequence[str]) -> None:
        """Learn terms, their idf and the components from the train prompts. Raises ErpError where there is no word."""
        from sklearn.utils.extmath import randomized_svd

        texts = sorted(map(plain_text, prompts))  # sums in floating point then do not depend on the prompts' order
        terms = self._frequent_terms(texts)
        if not terms:
            raise ErpError("backbone = tfidf: the train prompts have no word of two letters; choose another backbone")
        counts = self._counts(texts, terms)
        document_frequency = np.asarray((counts > 0).sum(axis=0)).ravel()
        idf = np.log((1 + len(texts)) / (1 + document_frequency)) + 1  # as if one more prompt had every term
        weighted = _weighted(counts, idf)
        dimensions = min(self.dimensions, *weighted.shape)
        _, values, rows = randomized_svd(weighted, dimensions, n_iter=_ITERATIONS, random_state=self.seed)
        spanned = values > _NOTHING * values[0]  # what the train prompts do not span would be directions of chance
        self._learnt = _Learnt(terms, idf, np.ascontiguousarray(rows[spanned], dtype=np.float32))

    def recipe(self) -> str:
        """Class, settings, and the versions of what computes."""
        settings = f"{self.dimensions} {self.ngram_max} {self.vocabulary} {self.seed} {_VERSION}"
        return f"{self.kind()} {settings} scikit-learn={version('scikit-learn')} numpy={version('numpy')}"

    def state(self) -> dict[str, Any]:
        """Terms, idf (float64) and components (float32) as a list and tensors."""
        learnt = self._fitted()
        return {
            "terms": list(learnt.terms),
            "idf": torch.from_numpy(learnt.idf.copy()),
            "components": torch.from_numpy(learnt.components.copy()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` gave. Raises ErpError where it is not of this backbone."""
        try:
            terms = [str(term) for term in state["terms"]]
            idf = state["idf"].numpy().astype(np.float64)
            components = np.ascontiguousarray(state["components"].numpy(), dtype=np.float32)
        except (KeyError, TypeError, AttributeError):
            raise _foreign_state() from None
        if idf.shape != (len(terms),) or components.ndim != 2 or components.shape[1] != len(terms):
            raise _foreign_state()
        self._learnt = _Learnt(terms, idf, components)

    def fingerprint(self) -> str:
        """Class, settings, and the hash of what the train prompts taught: other train prompts, another cache."""
        return f"{self.kind()} ngram_max={self.ngram_max} learnt={self._fitted().hash()}"

    def embed(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Projections of the TF-IDF rows, (n, d); zero for a prompt of which no word is known."""
        learnt = self._fitted()
        if not prompts:
            return np.zeros((0, len(learnt.components)), dtype=np.float32)
        weighted = _weighted(self._counts([plain_text(prompt) for prompt in prompts], learnt.terms), learnt.idf)
        return np.asarray(weighted @ learnt.components.T, dtype=np.float32)

    def _fitted(self) -> _Learnt:
        if self._learnt is None:
            raise ErpError("backbone = tfidf: has not seen the train prompts yet; call fit, or restore a saved state")
        return self._learnt

    def _frequent_terms(self, texts: list[str]) -> list[str]:
        """The most frequent terms, the alphabet deciding ties, in alphabetical order."""
        analyse = self._vectorizer(None).build_analyzer()
        frequency = Counter(term for text in texts for term in analyse(text))
        ranked = sorted(frequency, key=lambda term: (-frequency[term], term))
        return sorted(ranked[: self.vocabulary])

    def _counts(self, texts: list[str], terms: list[str]) -> Any:
        return self._vectorizer(terms).transform(texts)

    def _vectorizer(self, terms: list[str] | None) -> Any:
        from sklearn.feature_extraction.text import CountVectorizer

        return CountVectorizer(ngram_range=(1, self.ngram_max), vocabulary=terms, dtype=np.float64)


def _weighted(counts: Any, idf: NDArray[np.float64]) -> Any:
    """Sparse TF-IDF rows of length one, (n, terms): (1 + log count) * idf; a row without terms stays zero."""
    from sklearn.preprocessing import normalize

    counts.data = 1 + np.log(counts.data)
    return normalize(counts.multiply(idf).tocsr(), copy=False)


def _foreign_state() -> ErpError:
    return ErpError("backbone = tfidf: the saved state is not of this backbone; train the run again")
