"""The tree of results: it writes what it was given bit for bit, and takes nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from erp.formats.results import RESULTS
from erp.results import Results, require_sound, whole
from tests.edits import edited, places

KEPT = sorted((Path(__file__).parents[1] / "formats/first/runs").glob("*/results.json"))


def text(content) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.parent.name)
def test_what_is_read_is_written_bit_for_bit(file):
    kept = json.loads(file.read_text())
    found = whole(RESULTS.read(kept, str(file))).plain()
    newer = [
        (found["cost"], "fell_back"),
        (found["cost"], "read_first"),
        (found, "rewards_at_run_time"),
        (found["chosen_on_validation"], "cascades"),
    ]
    newer += [
        (found, "disagreement"),
        (found, "predicted_costs"),
        *((row, "auc") for row in found["prediction"]["members"].values()),
    ]
    assert not any(section.pop(key) for section, key in newer)  # than these files
    assert text(found) == text(kept)


def test_a_number_without_a_value_is_null_and_numpys_are_plain(results):
    given = results() | {"regret": float("nan")}
    found = Results.of(given)
    assert found.regret is None
    assert found.plain() == {**given, "regret": None, "verdict": ""}
    given["shares"]["dearest"] = np.array([0.5, float("inf")])
    assert Results.of(given).plain()["shares"]["dearest"] == [0.5, None]


def test_what_evaluation_must_not_make_is_refused(results):
    given = results()
    for wrong in (
        {**given, "luck": 1.0},
        edited(given, ("level",), "0.95"),
        edited(given, ("routing", "router", "luck"), 1.0),
        edited(given, ("routing", "oracle")),
        edited(given, ("data", "test"), 3.5),
        edited(given, ("policy", "promise"), {"budget": 1.0}),
        edited(given, ("curves", "router", "cost"), [1.0]),
    ):
        with pytest.raises(ValidationError):
            Results.of(wrong)


def test_results_do_not_change_once_they_are_made(results):
    found = whole(results())
    with pytest.raises(ValidationError, match="frozen"):
        found.level = 0.9


def test_there_are_decisions_or_there_are_none(results):
    assert whole(results()).decided.routing.router.reward == 0.65
    with pytest.raises(ValueError, match="curves: is null"):
        _ = whole({**results(), "curves": None}).decided


def test_a_gap_is_no_damage_but_a_report_needs_all(results):
    """Whatever is missing, beside what says what the run is: other commands read what there is."""
    given = results()
    needed = {
        ("run", name) for name in ("table", "reward_model", "members", "backbone", "router", "split_seed", "seed")
    }
    needed |= {("run", "lambda"), ("run",), ("extension",)}
    for place in places(given):
        if place[0] in ("curves", "chosen_on_validation") or 0 in place or place in needed:
            continue
        gap = edited(given, place)
        require_sound(gap)
    with pytest.raises(ValueError, match=r"^run.table: Field required$"):
        require_sound(edited(given, ("run", "table")))
    with pytest.raises(ValueError, match=r"^curves.router.cost: Field required$"):
        require_sound(edited(given, ("curves", "router", "cost")))
    with pytest.raises(ValueError, match=r"^routing.oracle: Field required$"):
        whole(edited(given, ("routing", "oracle")))


def test_a_number_too_large_to_be_squared_is_damage_only_where_it_is_read(results):
    given = edited(results(), ("regret",), 1e200)
    assert Results.of(given).regret == 1e200
    with pytest.raises(ValueError, match="regret: Input should be 1e\\+150 at most"):
        require_sound(given)
