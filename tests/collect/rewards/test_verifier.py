import pytest

from erp.collect.rewards.base import Pair
from erp.collect.rewards.verifier import Verifier
from erp.errors import ErpError

ANSWER = r"[Aa]nswer:\**\s*([^\n]*)"


def score(response, reference, **options):
    (value,) = Verifier(**options).score([Pair("p", response, None, reference)])
    return value


@pytest.mark.parametrize(
    ("response", "answer", "expected"),
    [("Paris", "Paris", 1), ("  paris \n", "Paris", 1), ("New   York", "new york", 1), ("Paris.", "Paris", 0)],
)  # fmt: skip
def test_exact(response, answer, expected):
    assert score(response, {"answer": answer}, method="exact") == expected


@pytest.mark.parametrize(
    ("response", "answer", "expected"),
    [
        ("it is 42", 42, 1),
        ("6 * 7 = 42", "42", 1),
        ("42 is not it, 41 is", 42, 0),
        ("1,234.50", 1234.5, 1),
        ("-3", 3, 0),
        ("1e3", 1000, 1),
        (".5", "0.5", 1),
        ("42.0000001", 42, 1),
        ("42.1", 42, 0),
        ("no number", 42, 0),
        ("3", "none", 0),
    ],
)
def test_numeric(response, answer, expected):
    assert score(response, {"answer": answer}, method="numeric") == expected


def test_numeric_tolerance():
    assert score("101", {"answer": 100}, method="numeric", tolerance=0.02) == 1
    assert score("103", {"answer": 100}, method="numeric", tolerance=0.02) == 0


def test_regex():
    assert score("The colour is gray.", {"pattern": r"gr[ae]y\b"}, method="regex") == 1
    assert score("The colour is grayish.", {"pattern": r"gr[ae]y\b"}, method="regex") == 0


def test_the_last_marked_answer_counts_else_the_whole_response():
    said = "First I thought Answer: 5\nbut no.\n**Answer:** 7\nDone."
    assert score(said, {"answer": "7"}, method="exact", extract=ANSWER) == 1
    assert score("7", {"answer": "7"}, method="exact", extract=ANSWER) == 1
    assert score(said, {"answer": "7"}, method="exact") == 0


def test_the_reference_chooses_the_method():
    assert score("7 or so, 8", {"answer": 8, "scorer": "numeric"}) == 1
    assert score("8", {"answer": "8"}) == 1
    with pytest.raises(ErpError, match="scorer = magic: there is no such method"):
        score("8", {"answer": "8", "scorer": "magic"})


def test_a_scorer_that_raises_gives_zero_and_is_counted(monkeypatch):
    from erp.collect.rewards import verifier

    def raising(answer, entry):
        raise ValueError(answer)

    monkeypatch.setattr(verifier, "_scorer", lambda task, settings: raising)
    judge = Verifier()
    reference = {"scorer": "reasoning_gym", "task": "gcd", "answer": "3", "metadata": {}}
    assert judge.score([Pair("p", "]]", None, reference)] * 2) == [0.0, 0.0]
    assert judge.counts["scorer_raised"] == 2


@pytest.mark.parametrize("reference", [None, {}, {"pattern": "x"}])
def test_a_prompt_without_a_reference_is_refused(reference):
    with pytest.raises(ErpError, match="reference has no answer"):
        score("8", reference, method="exact")


@pytest.mark.parametrize(("extract", "said"), [("(", "is no regular expression"), ("abc", "has no group")])
def test_a_bad_pattern_is_refused(extract, said):
    with pytest.raises(ErpError, match=said):
        Verifier(extract=extract)
