"""Surface counts: counted by hand, on a scale that any prompt stays within."""

import math

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from erp.backbones.base import FittedBackbone, Weighted, build_backbone, normalised
from erp.backbones.surface import MOST, SURFACE, SurfaceBackbone, surface_counts
from erp.compose import conf_folder

BACKBONE = SurfaceBackbone()
CODE = "Fix `f`:\n```py\nx = [1, 22]\n```\nWhy? WHY?"
LIST = "Pick one.\n- red\n2) blue\n(c) É\nend!"


def counted(prompt, **expected):
    counts = surface_counts(prompt)
    assert {name: counts[name] for name in expected} == pytest.approx(expected)


def test_a_question_by_hand():
    counted(
        "What is 12 + 30? Say it.",
        log_characters=math.log(25),
        log_words=math.log(7),  # What is 12 30 Say it
        log_lines=0.0,
        log_sentence_ends=math.log(3),
        log_numbers=math.log(3),
        log_question_marks=math.log(2),
        log_code_fences=0.0,
        log_maths_symbols=math.log(2),
        log_list_items=0.0,
        digit_share=4 / 24,
        uppercase_share=2 / 11,
        code_mark_share=0.0,
        non_ascii_share=0.0,
        mean_word_length=15 / 6,
        distinct_word_share=1.0,
    )


def test_code_by_hand():
    counted(
        CODE,
        log_lines=math.log(5),
        log_numbers=math.log(3),
        log_question_marks=math.log(3),
        log_code_fences=math.log(3),
        log_maths_symbols=math.log(2),  # the =
        code_mark_share=(8 + 1 + 2) / len(CODE),  # `, = and []
        distinct_word_share=7 / 8,  # Fix f py x 1 22 Why WHY
        digit_share=3 / len(CODE),
    )


def test_lists_and_letters_by_hand():
    counted(
        LIST,
        log_list_items=math.log(4),
        log_sentence_ends=math.log(3),
        non_ascii_share=1 / len(LIST),
        uppercase_share=2 / 19,
        log_numbers=math.log(2),
    )
    counted("\\frac{1}{2} ≤ \\sqrt{x} \u00d7 3", log_maths_symbols=math.log(5), non_ascii_share=2 / 26)
    counted("3.14 is no end. e.g. that", log_sentence_ends=math.log(3), log_list_items=0.0)
    counted("-5 and -x", log_list_items=0.0)


def test_an_empty_prompt_has_none_of_anything():
    assert surface_counts("") == dict.fromkeys(SURFACE, 0.0)
    row = BACKBONE.embed([""])[0]
    assert np.isfinite(row).all()
    assert row[:-1].max() <= 0  # nothing is below the usual prompt's centre, which is above 0


def test_numbers_are_the_counts_on_their_scale_and_a_constant():
    """Centres and scales as documented: (value - centre) / scale, in the order of the names."""
    centres = [5, 3.5, 1, 1, 0.7, 0.4, 0.1, 0.5, 0.3, 0.03, 0.06, 0.02, 0.03, 4.5, 0.8]
    scales = [1.5, 1.5, 1, 0.7, 1, 0.4, 0.4, 1, 0.8, 0.06, 0.1, 0.04, 0.15, 1.5, 0.2]
    for prompt in (CODE, LIST, "What is 12 + 30? Say it."):
        counts = np.array(list(surface_counts(prompt).values()))
        expected = np.clip((counts - centres) / scales, -5, 5)
        (row,) = BACKBONE.embed([prompt])
        assert row[:-1] == pytest.approx(expected, abs=1e-6)
        assert row[-1] == 1
    assert len(SURFACE) + 1 == len(row) == 16


@given(st.lists(st.text(st.characters(), max_size=80), max_size=5))
def test_any_text_gives_finite_rows_that_depend_on_it_alone(prompts):
    rows = BACKBONE.embed(prompts)
    assert rows.shape == (len(prompts), 16)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert np.abs(rows).max(initial=0) <= MOST
    for prompt, row in zip(prompts, rows, strict=True):
        assert np.array_equal(BACKBONE.embed([prompt])[0], row)


def test_an_odd_prompt_does_not_rule():
    row = BACKBONE.embed(["1" * 100_000, "\ud800" * 10, "?" * 1000])
    assert np.abs(row).max() == MOST


def test_the_constant_keeps_counts_apart_that_point_the_same_way():
    """After normalisation, dividing by the last entry gives the counts back."""
    rows = BACKBONE.embed([CODE, LIST, "", "a"])
    unit = normalised(rows)
    assert unit / unit[:, -1:] == pytest.approx(rows, rel=1e-5, abs=1e-5)


def test_it_needs_nothing():
    node = yaml.safe_load((conf_folder() / "backbone" / "surface.yaml").read_text())
    made = build_backbone(node, None)
    assert isinstance(made, SurfaceBackbone)
    assert not isinstance(made, Weighted)
    assert not isinstance(made, FittedBackbone)
    assert made.fingerprint() == SurfaceBackbone().fingerprint()
