"""Costs by hand, and the order in which `auto` falls through."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from erp.costs.expected import expected_cost
from erp.costs.prices import Price, read_prices
from erp.errors import ErpError
from erp.table.read import read_table

PRICES = {"a": Price("a", 1.0, 2.0), "b": Price("b", 10.0, 20.0)}
PARAMETERS = {"a": 1e9, "b": 7e9}


@pytest.fixture
def table(tmp_path):
    """Two prompts of 4 and 9 characters, two members; `changes` are columns of its four rows."""

    def make(**changes):
        frame = pd.DataFrame({
            "prompt_id": ["1", "1", "2", "2"], "prompt": ["four", "four", "nine char", "nine char"],
            "model": ["a", "b", "a", "b"], "reward": 1.0, **changes,
        })  # fmt: skip
        frame.to_parquet(tmp_path / "t.parquet")
        return read_table(tmp_path / "t.parquet")

    return make


TOKENS = {"prompt_tokens": [10, 20, 30, 40], "completion_tokens": [100, 200, 300, 400]}


def test_usd_from_prices(table):
    costs = expected_cost(table(**TOKENS), "usd", PRICES, {})
    assert (costs.kind, costs.unit, costs.notes) == ("usd", "USD per prompt", ())
    want = [[10 + 200, 200 + 4000], [30 + 600, 400 + 8000]]
    assert np.allclose(costs.values * 1e6, want, rtol=1e-14)


def test_the_cost_column_wins_and_prices_fill_it(table):
    costs = expected_cost(table(cost_usd=[0.5, None, None, 0.25], **TOKENS), "usd", PRICES, {})
    assert np.allclose(costs.values, [[0.5, 4200e-6], [630e-6, 0.25]])
    assert costs.notes == ("cost_usd is unknown and computed from prices in 2 of 4 cells",)
    costs = expected_cost(table(cost_usd=[0.5, 0.75, None, 0.25]), "usd", {}, {})
    assert costs.values.tolist() == [[0.5, 0.75], [0.5, 0.25]]
    assert costs.notes == ("unknown costs are the member's mean on train in 1 of 4 cells",)
    assert np.isfinite(costs.known).tolist() == [[True, True], [False, True]]


def test_what_was_filled_from_other_prompts_is_not_measured(table):
    some = {"prompt_tokens": [None, 0, 0, 0], "completion_tokens": [100, None, None, 400]}
    filled = [[True, False], [False, True]]
    assert np.isfinite(expected_cost(table(**some), "tokens", {}, {}).known).tolist() == filled
    assert np.isfinite(expected_cost(table(**some), "flops", {}, PARAMETERS).known).tolist() == filled
    assert np.isfinite(expected_cost(table(**some), "usd", PRICES, {}).known).tolist() == filled
    # A known cost needs no tokens; a price on a filled length is not measured.
    known = table(cost_usd=[None, 0.5, None, None], **some)
    assert np.isfinite(expected_cost(known, "usd", PRICES, {}).known).tolist() == [[True, True], [False, True]]
    none = np.isfinite(expected_cost(table(**some), "none", {}, {}).known)
    assert (none.dtype, none.tolist()) == (bool, [[True, True], [True, True]])
    bare = table(completion_tokens=[100, None, 300, None])
    assert np.isfinite(expected_cost(bare, "tokens", {}, {}, assumed_completion_tokens=50).known).all()
    assert np.isfinite(expected_cost(table(), "auto", {}, {}).known).all()


def test_flops_and_tokens(table):
    full = table(**TOKENS)
    assert expected_cost(full, "flops", {}, PARAMETERS).values.tolist() == [
        [2e9 * 110, 14e9 * 220],
        [2e9 * 330, 14e9 * 440],
    ]
    costs = expected_cost(full, "tokens", {}, {})
    assert costs.values.tolist() == [[110, 220], [330, 440]]
    assert costs.unit == "tokens per prompt"


def test_prompt_tokens_are_estimated(table):
    costs = expected_cost(table(completion_tokens=[100, 200, 300, 400]), "tokens", {}, {})
    assert costs.values.tolist() == [[101, 201], [303, 403]]  # ceil(4 / 4), ceil(9 / 4)
    assert costs.notes == ("prompt tokens are estimated as characters / 4 in all cells",)


def test_an_unknown_cost_is_the_members_mean(table):
    known = {"prompt_tokens": [0, 0, 0, 0], "completion_tokens": [100, None, None, 400]}
    costs = expected_cost(table(**known), "tokens", {}, {})
    assert costs.values.tolist() == [[100, 400], [100, 400]]
    assert costs.mean.tolist() == [100, 400]
    assert costs.notes == ("unknown costs are the member's mean on train in 2 of 4 cells",)


def test_a_missing_cell_has_a_cost_too(table):
    whole = table(**TOKENS)
    frame = whole.samples[whole.samples.index != 3]
    costs = expected_cost(type(whole)(whole.prompts, frame, whole.members, "reward"), "tokens", {}, {})
    assert costs.values.tolist() == [[110, 220], [330, 220]]


FIRST, SECOND = np.array([0]), np.array([1])


def test_unknown_costs_are_those_of_train_alone(table):
    """Prompt 1 is train: what is known of prompt 2 stands there, and nowhere else."""
    known = {"prompt_tokens": 0, "completion_tokens": [100, 200, None, 4000]}
    for last in (4000, 7):
        known["completion_tokens"][3] = last
        costs = expected_cost(table(**known), "tokens", {}, {}, train=FIRST)
        assert costs.values.tolist() == [[100, 200], [100, last]]
        assert costs.mean.tolist() == [100, 200]
    usd = expected_cost(table(cost_usd=[0.5, 0.25, None, 9]), "auto", {}, {}, train=FIRST)
    assert (usd.kind, usd.values.tolist(), usd.mean.tolist()) == ("usd", [[0.5, 0.25], [0.5, 9]], [0.5, 0.25])


def test_what_is_known_outside_train_only_is_not_known(table):
    tested = {"prompt_tokens": 0, "completion_tokens": [100, None, None, 400]}
    with pytest.raises(ErpError, match=r"cannot be had: no completion tokens on train prompts for b; allowed"):
        expected_cost(table(**tested), "tokens", {}, {}, train=FIRST)
    with pytest.raises(ErpError, match=r"cannot be had: no completion tokens on train prompts for a; allowed"):
        expected_cost(table(**tested), "usd", PRICES, {}, train=SECOND)
    some = table(cost_usd=[1.0, None, 1.0, 2.0], **TOKENS)
    assert expected_cost(some, "auto", {}, {}, train=SECOND).kind == "usd"
    costs = expected_cost(some, "auto", {}, {}, train=FIRST)
    assert costs.kind == "tokens"
    assert costs.notes[0].startswith(
        "costs are counted in tokens (not usd, which 1 of 2 members have: no cost_usd and no price on train prompts"
    )
    # A length is assumed where train knows none; what is known elsewhere stands.
    costs = expected_cost(table(**tested), "tokens", {}, {}, 50, train=FIRST)
    assert costs.values.tolist() == [[100, 50], [100, 400]]
    assert costs.mean.tolist() == [100, 50]


def test_what_a_run_kept_stands_before_this_tables_means(table):
    known = {"prompt_tokens": 0, "completion_tokens": [100, None, None, 400]}
    costs = expected_cost(table(**known), "tokens", {}, {}, kept=np.array([7.0, np.nan]))
    assert costs.values.tolist() == [[100, 400], [7, 400]]
    assert costs.mean.tolist() == [7, 400]
    with pytest.raises(ErpError, match="no completion tokens for b"):  # what nobody counted here is not taken for known
        expected_cost(table(**{**known, "completion_tokens": [1, None, 2, None]}), "tokens", {}, {}, kept=np.ones(2))


def test_several_responses_cost_as_many_times(table):
    known = {"prompt_tokens": 0, "completion_tokens": [100, None, None, 400]}
    costs = expected_cost(table(**known), "tokens", {}, {}, responses=4)
    assert costs.values.tolist() == [[400, 1600], [400, 1600]]
    assert costs.mean.tolist() == [400, 1600]
    assert costs.notes[-1] == "for 4 responses a prompt"


def test_means_over_samples_are_weighted(tmp_path):
    frame = pd.DataFrame({"prompt": "p", "model": "a", "reward": 1.0, "prompt_tokens": 0, "n_samples": [1, 3],
                          "completion_tokens": [10, 50]})  # fmt: skip
    frame.to_parquet(tmp_path / "t.parquet")
    assert expected_cost(read_table(tmp_path / "t.parquet"), "tokens", {}, {}).values.tolist() == [[40.0]]


def test_lengths_can_be_assumed(table):
    known = {"prompt_tokens": [0, 0, 0, 0], "completion_tokens": [100, None, 300, None]}
    with pytest.raises(ErpError, match=r"cost.kind = tokens: cannot be had: no completion tokens for b;"):
        expected_cost(table(**known), "tokens", {}, {})
    costs = expected_cost(table(**known), "tokens", {}, {}, assumed_completion_tokens=50)
    assert costs.values.tolist() == [[100, 50], [300, 50]]
    assert costs.notes == ("completion tokens are assumed to be 50 for b",)
    with pytest.raises(ErpError, match="assume_completion_tokens = 0"):
        expected_cost(table(**known), "tokens", {}, {}, assumed_completion_tokens=0)


def test_lengths_of_answers_are_counted_alone(table):
    """Prompts count for nothing, nor does what is estimated of them."""
    known = {"completion_tokens": [100, None, 300, 40]}
    costs = expected_cost(table(**known), "completion_tokens", {}, {})
    assert costs.values.tolist() == [[100, 40], [300, 40]]
    assert costs.notes == ("unknown costs are the member's mean on train in 1 of 4 cells",)
    assert costs.unit == "tokens of an answer"


def test_auto_takes_the_first_that_every_member_has(table):
    full, bare = table(**TOKENS), table()
    some = {"a": PRICES["a"]}
    assert expected_cost(full, "auto", PRICES, PARAMETERS).notes == ("costs are counted in usd",)
    assert expected_cost(full, "auto", {}, PARAMETERS).fell_back is None  # no member has a price
    costs = expected_cost(full, "auto", some, PARAMETERS)
    assert costs.kind == "flops"
    assert costs.notes == (
        "costs are counted in flops (not usd, which 1 of 2 members have: no cost_usd and no price for b)",
    )
    assert costs.fell_back == costs.notes[0]
    costs = expected_cost(full, "auto", some, {"b": 1e9})
    assert costs.kind == "tokens"
    assert "not flops, which 1 of 2 members have: no active parameters for a" in costs.notes[0]
    costs = expected_cost(bare, "auto", PRICES, PARAMETERS)
    assert costs.kind == "none"
    assert costs.values.tolist() == [[0, 0], [0, 0]]
    assert costs.notes == (
        "costs are not counted (not usd: no completion tokens for a, b; not flops: no completion tokens for a, b; "
        "not tokens: no completion tokens for a, b)",
    )
    assert expected_cost(table(cost_usd=[1, 2, 3, 4]), "auto", {}, {}).values.tolist() == [[1, 2], [3, 4]]
    assert expected_cost(full, "none", PRICES, PARAMETERS).values.sum() == 0


def test_kinds_that_cannot_be_had(table):
    with pytest.raises(ErpError, match=r"cost.kind = usd: cannot be had: no cost_usd and no price for a, b;"):
        expected_cost(table(**TOKENS), "usd", {}, {})
    with pytest.raises(ErpError, match="no active parameters for b, no completion tokens for a, b"):
        expected_cost(table(), "flops", {}, {"a": 1e9})
    with pytest.raises(ErpError, match=r"cost.kind = euro: unknown; allowed are auto, usd"):
        expected_cost(table(), "euro", {}, {})


@pytest.mark.parametrize("ending", ["json", "yaml"])
@pytest.mark.parametrize(
    "content",
    [
        [{"name": "a", "input_usd_per_mtok": 1, "output_usd_per_mtok": 2},
         {"name": "b", "input_usd_per_mtok": 10.0, "output_usd_per_mtok": 20.0}],
        {"a": {"input": 1, "output": 2, "size": "7B"}, "b": {"input": 10, "output": 20}},
    ],
)  # fmt: skip
def test_price_files(tmp_path, ending, content):
    (tmp_path / f"p.{ending}").write_text(json.dumps(content))  # JSON is YAML
    assert read_prices(tmp_path / f"p.{ending}") == PRICES


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"note": "x", "prices": {"a": {"input": 1, "output": 1}}}', "its top-level keys are note, prices"),
        ('[{"name": "a", "input": 1}]', "entry a is not a price; it lists 1 entries"),
        ('{"a": {"input": -1, "output": 1}}', "entry a is not a price"),
        ('{"a": {"input": true, "output": 1}}', "entry a is not a price"),
        ('[{"name": "a", "input": 1, "output": 1}, {"name": "a", "input": 1, "output": 1}]', "a is named twice"),
        ("[]", "neither a list nor a mapping, or empty"),
        ("{", "cannot be read"),
    ],
)
def test_bad_price_files(tmp_path, content, expected):
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(ErpError) as caught:
        read_prices(path)
    text = str(caught.value)
    assert text.startswith(f"cost.prices = {path}: ")
    assert expected in text
    if "not a price" in text:
        assert "{name, input_usd_per_mtok, output_usd_per_mtok}" in text
        assert "name -> {input, output}" in text


def test_missing_price_file(tmp_path):
    with pytest.raises(ErpError, match="cannot be read"):
        read_prices(tmp_path / "none.yaml")
