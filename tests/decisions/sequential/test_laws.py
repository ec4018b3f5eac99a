"""Laws of rewards and their reservation values, against scipy, bisection and numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from erp.decisions.sequential.laws import Beta, Normal, Points, ZeroOne, reservation
from erp.errors import ErpError

MEANS, SPREADS = np.array([[0.6, 0.3, 0.5]]), np.array([[0.3, 0.1, 0.05]])


def frozen(mean, sd, kind):
    if kind is Normal:
        return stats.norm(mean, sd)
    k = mean * (1 - mean) / sd**2 - 1
    return stats.beta(mean * k, (1 - mean) * k)


@pytest.mark.parametrize("kind", [Normal, Beta])
@pytest.mark.parametrize("bar", [-0.2, 0.0, 0.35, 0.7, 1.3])
def test_what_an_answer_adds_is_the_integral_over_its_density(kind, bar):
    law = kind(MEANS, SPREADS)
    for m, (mean, sd) in enumerate(zip(MEANS[0], SPREADS[0], strict=True)):
        judge = frozen(mean, sd, kind)
        over, _ = integrate.quad(judge.sf, bar, 3.0, points=[min(max(mean, bar), 3)], limit=200)
        assert law.excess(np.full((1, 3), bar))[0, m] == pytest.approx(over, abs=1e-7)
        assert law.above(np.full((1, 3), bar))[0, m] == pytest.approx(judge.sf(bar), abs=1e-12)


@pytest.mark.parametrize("kind", [Normal, Beta])
@pytest.mark.parametrize("price", [1e-9, 0.001, 0.05, 0.4, 3.0])
def test_the_reservation_value_is_where_what_is_added_is_the_price(kind, price):
    law = kind(MEANS, SPREADS)
    found = reservation(law, np.full((1, 3), price))

    def short(z, m):
        return float(law.excess(np.full((1, 3), z))[0, m]) - price

    want = [optimize.brentq(short, -10, 10, args=(m,), xtol=1e-13) for m in range(3)]
    np.testing.assert_allclose(found[0], want, atol=1e-5 if price < 1e-6 else 1e-9)


def test_beta_laws_between_tabulated_ones_are_near_the_exact():
    rng = np.random.default_rng(0)
    mean = rng.uniform(0.03, 0.97, (200, 3))
    sd = np.sqrt(rng.uniform(0.05, 0.9, (200, 3)) * mean * (1 - mean))
    law, knots = Beta(mean * 4 - 2, sd * 4, -2.0, 2.0), np.linspace(-2, 2, 25)
    exact = np.stack([1 - law.above(np.full((1, 1), knot)) for knot in knots], axis=-1)
    np.testing.assert_allclose(law.at_most(25), exact, atol=0.02)


def test_two_values_by_hand():
    # Of a chance p of 1: z = 1 - c / p where that is at least 0, p - c below. Free: the largest reward.
    law = ZeroOne(np.array([[0.5, 0.25, 0.8, 0.0, 1.0]]))
    price = np.array([[0.1, 0.5, 0.0, 0.2, 0.3]])
    np.testing.assert_allclose(reservation(law, price), [[0.8, -0.25, 1.0, -0.2, 0.7]], atol=1e-12)
    assert law.most.tolist() == [[1, 1, 1, 0, 1]]
    # 1, 2 and 6 equally likely, price 1: only 6 is worth it, (6 - z) / 3 = 1.
    thirds = Points(np.array([[[1.0, 2.0, 6.0]]]), np.full(3, 1 / 3))
    assert reservation(thirds, np.array([[1.0]])) == pytest.approx(3.0)
    assert reservation(thirds, np.array([[4.0]])) == pytest.approx(-1.0)  # nothing to lose below 1: the mean less 4


def test_a_law_moved_has_the_mean_and_the_spread_it_is_given():
    mean, ratio = np.array([[0.5, 0.45, 0.55]]), np.array([[0.5, 1.0, 0.2]])
    points = Points(np.sort(np.random.default_rng(0).normal(size=(1, 3, 7)), axis=2), np.full(7, 1 / 7))
    for law in (Normal(MEANS, SPREADS), Beta(MEANS, SPREADS), points):
        moved = law.moved(mean, ratio)
        np.testing.assert_allclose(moved.mean, mean, atol=1e-12)
    np.testing.assert_allclose(
        points.moved(mean, ratio).values.std(axis=2), points.values.std(axis=2) * ratio, atol=1e-12
    )
    np.testing.assert_allclose(ZeroOne(MEANS).moved(mean, ratio).mean, mean)


def test_what_is_known_for_sure_is_worth_itself_less_its_price():
    law = Normal(np.array([[2.0]]), np.array([[0.0]]))
    assert reservation(law, np.array([[0.5]])) == pytest.approx(1.5)
    assert reservation(Beta(np.array([[0.4]]), np.array([[0.0]])), np.array([[0.1]])) == pytest.approx(0.3, abs=1e-6)


def test_a_price_below_0_is_refused():
    with pytest.raises(ErpError, match="price: negative or not finite"):
        reservation(ZeroOne(MEANS), np.array([[0.1, -0.1, 0.1]]))
