"""Predicted distributions of rewards, and what a box is worth that holds one: its reservation value.

Every law answers for n prompts and M members at once. Source: Weitzman (1979), "Optimal search for the best
alternative": boxes with independent rewards Y_m and prices c_m are best opened in order of the z_m that solve
E[(Y_m - z_m)^+] = c_m, until the best reward in hand is at least every z_m that is left.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, ndtr

from erp.errors import ErpError

Floats = NDArray[np.float64]
_STEPS = 500  # of Newton's method at most: of a normal law it takes u^2 / 2, u standard deviations above the mean
_KNOWN = 1e-9  # share of a reward's size below which a spread is none


class Law(ABC):
    """What is predicted of the reward of one answer, (n, M).

    Attributes:
        continuous: no reward has a chance of its own, so that `above` and `reaches` are one.
    """

    continuous: ClassVar[bool] = True

    @property
    @abstractmethod
    def mean(self) -> Floats:
        """(n, M) expected reward."""

    @property
    @abstractmethod
    def most(self) -> Floats:
        """(n, M) the largest reward there can be; infinity for a law without an end."""

    @abstractmethod
    def excess(self, bar: Floats) -> Floats:
        """E[(Y - bar)^+], (n, M): what an answer adds to ``bar`` in hand; bar is finite and broadcasts."""

    @abstractmethod
    def above(self, bar: Floats) -> Floats:
        """P(Y > bar), (n, M)."""

    def reaches(self, bar: Floats) -> Floats:
        """P(Y >= bar), (n, M)."""
        return self.above(bar)

    @abstractmethod
    def moved(self, mean: Floats, ratio: Floats) -> Law:
        """The law with this mean, and its spread about it times ``ratio``, (n, M) each."""

    @abstractmethod
    def take(self, rows: NDArray[np.int64]) -> Law:
        """Of these prompts only, by position."""


@dataclass(frozen=True, eq=False)
class Normal(Law):
    """Normal laws; ``centre`` and ``sd`` are (n, M)."""

    centre: Floats
    sd: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "sd", np.maximum(self.sd, _KNOWN * np.maximum(np.abs(self.centre), 1.0)))

    @property
    def mean(self) -> Floats:
        """Its centre."""
        return self.centre

    @property
    def most(self) -> Floats:
        """None."""
        return np.full(self.centre.shape, np.inf)

    def excess(self, bar: Floats) -> Floats:
        """Of a normal law: sd (phi(u) - u (1 - Phi(u))), u = (bar - mean) / sd."""
        u = (bar - self.centre) / self.sd
        density = np.exp(-0.5 * np.square(u)) / np.sqrt(2 * np.pi)
        return np.asarray(self.sd * np.maximum(density - u * ndtr(-u), 0.0))

    def above(self, bar: Floats) -> Floats:
        """1 - Phi(u)."""
        return np.asarray(ndtr((self.centre - bar) / self.sd))

    def moved(self, mean: Floats, ratio: Floats) -> Normal:
        """Normal again."""
        return Normal(mean, self.sd * ratio)

    def take(self, rows: NDArray[np.int64]) -> Normal:
        """These rows."""
        return Normal(self.centre[rows], self.sd[rows])


@dataclass(frozen=True, eq=False)
class Beta(Law):
    """Beta laws on [low, high] by mean and standard deviation, (n, M) each.

    A mean outside is taken to the nearest inside; a spread that no Beta law of this mean has, to the largest one.
    """

    centre: Floats
    sd: Floats
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ErpError(f"Beta law: ends {self.low} and {self.high}; the lower one first is allowed; swap them")
        width = self.high - self.low
        share = np.clip((self.centre - self.low) / width, 1e-6, 1 - 1e-6)
        variance = np.clip(np.square(self.sd / width), np.square(_KNOWN), 0.99 * share * (1 - share))
        object.__setattr__(self, "_a", share * (share * (1 - share) / variance - 1))
        object.__setattr__(self, "_b", (1 - share) * (share * (1 - share) / variance - 1))
        object.__setattr__(self, "_share", share)

    _a = _b = _share = np.empty(0)  # (n, M): its two parameters, and its mean within [0, 1]

    @property
    def mean(self) -> Floats:
        """Within its ends."""
        return self.low + (self.high - self.low) * self._share

    @property
    def most(self) -> Floats:
        """Its upper end."""
        return np.full(self.centre.shape, self.high)

    def excess(self, bar: Floats) -> Floats:
        """By the incomplete beta function; the law of y f(y) / mean is Beta(a + 1, b)."""
        width = self.high - self.low
        t = (bar - self.low) / width
        inside = np.clip(t, 0.0, 1.0)
        over = self._share * (1 - betainc(self._a + 1, self._b, inside)) - inside * (
            1 - betainc(self._a, self._b, inside)
        )
        return np.asarray(width * (np.maximum(over, 0.0) + np.maximum(-t, 0.0)))

    def above(self, bar: Floats) -> Floats:
        """1 less the distribution function."""
        return np.asarray(1 - betainc(self._a, self._b, np.clip((bar - self.low) / (self.high - self.low), 0.0, 1.0)))

    def at_most(self, knots: int) -> Floats:
        """P(Y <= y) at evenly spaced rewards from end to end, (n, M, knots), between tabulated laws: much faster."""
        table = _tabulated(knots)
        places = []
        for part, size in ((self._share, table.shape[0]), (1 / (self._a + self._b + 1), table.shape[1])):
            at = np.clip(part, 0.0, 1.0) * (size - 1)
            below = np.minimum(at.astype(np.int64), size - 2)
            places.append((below, (at - below)[..., None]))
        (i, right), (j, up) = places
        low = (1 - up) * table[i, j] + up * table[i, j + 1]
        return np.asarray((1 - right) * low + right * ((1 - up) * table[i + 1, j] + up * table[i + 1, j + 1]))

    def moved(self, mean: Floats, ratio: Floats) -> Beta:
        """Beta on the same ends."""
        return Beta(mean, self.sd * ratio, self.low, self.high)

    def take(self, rows: NDArray[np.int64]) -> Beta:
        """These rows."""
        return Beta(self.centre[rows], self.sd[rows], self.low, self.high)


@dataclass(frozen=True, eq=False)
class Points(Law):
    """Laws on finitely many rewards: samples seen, or predicted quantiles.

    Attributes:
        values: (n, M, Q) rewards.
        weights: shape that broadcasts to it, 0 or more, of sum 1 over Q.
    """

    values: Floats
    weights: Floats
    continuous: ClassVar[bool] = False

    @property
    def mean(self) -> Floats:
        """The weighted mean."""
        return np.asarray((self.values * self.weights).sum(axis=-1))

    @property
    def most(self) -> Floats:
        """The largest value that has weight."""
        return np.asarray(np.where(self.weights > 0, self.values, -np.inf).max(axis=-1))

    def excess(self, bar: Floats) -> Floats:
        """The weighted mean of what is over."""
        return np.asarray((np.maximum(self.values - np.asarray(bar)[..., None], 0.0) * self.weights).sum(axis=-1))

    def above(self, bar: Floats) -> Floats:
        """The weights above."""
        return np.asarray(((self.values > np.asarray(bar)[..., None]) * self.weights).sum(axis=-1))

    def reaches(self, bar: Floats) -> Floats:
        """The weights at or above."""
        return np.asarray(((self.values >= np.asarray(bar)[..., None]) * self.weights).sum(axis=-1))

    def moved(self, mean: Floats, ratio: Floats) -> Points:
        """Every value moved and drawn together alike."""
        return Points(mean[..., None] + (self.values - self.mean[..., None]) * ratio[..., None], self.weights)

    def take(self, rows: NDArray[np.int64]) -> Points:
        """These rows."""
        return Points(self.values[rows], np.broadcast_to(self.weights, self.values.shape)[rows])


class ZeroOne(Points):
    """Laws of rewards that are 0 or 1, by the chance (n, M) of a 1; one outside [0, 1] is taken to the nearer end."""

    def __init__(self, chance: Floats) -> None:
        chance = np.clip(chance, 0.0, 1.0)
        super().__init__(np.broadcast_to([0.0, 1.0], (*chance.shape, 2)), np.stack([1 - chance, chance], axis=-1))

    def moved(self, mean: Floats, ratio: Floats) -> ZeroOne:
        """Its mean is all that it has."""
        del ratio
        return ZeroOne(mean)

    def take(self, rows: NDArray[np.int64]) -> ZeroOne:
        """These rows."""
        return ZeroOne(self.weights[rows, :, 1])


@cache
def _tabulated(knots: int) -> Floats:
    """Distribution functions of Beta laws on [0, 1]: by mean, variance / (mean (1 - mean)), evenly spaced knots."""
    share = np.clip(np.linspace(0, 1, 61), 1e-3, 1 - 1e-3)[:, None, None]
    size = 1 / np.clip(np.linspace(0, 1, 31), 1e-3, 0.99)[:, None] - 1
    return np.asarray(betainc(share * size, (1 - share) * size, np.linspace(0, 1, knots)))


def reservation(law: Law, price: NDArray[np.floating]) -> Floats:
    """Reservation values z (n, M): E[(Y - z)^+] = price.

    The left side falls and is convex in z, so Newton's method from mean - price, where it is too large or right, comes
    ever closer from below; on finitely many rewards it ends at the very number. For a free answer z is the largest
    reward there can be. A member whose z is no more than what is had without asking is not worth asking.

    Args:
        law: of n prompts and M members.
        price: reward that asking costs, 0 or more, finite; broadcasts to (n, M).

    Raises:
        ErpError: on a price that is negative or not finite.
    """
    price = np.broadcast_to(np.asarray(price, dtype=np.float64), law.mean.shape)
    if not (np.isfinite(price).all() and (price >= 0).all()):
        raise ErpError("price: negative or not finite; 0 or more, in reward units, is allowed; repair costs and lambda")
    z = law.mean - price
    for _ in range(_STEPS):
        above = law.above(z)
        step = np.where(above > 0, (law.excess(z) - price) / np.where(above > 0, above, 1.0), 0.0)
        step = np.where((price > 0) & (step > 0), step, 0.0)
        if not (step > 1e-14 * np.maximum(np.abs(z), 1e-6)).any():
            break
        z = z + step
    return np.where(price > 0, z, law.most)
