import time

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
    ],
)
def test_numeric(response, answer, expected):
    assert score(response, {"answer": answer}, method="numeric") == expected


# Answers and references, as math data sets and models write them, and what a reader would say.
NUMBERS = [
    (r"\frac{64}{400}", r"\frac{63}{400}", 0),
    (r"the share is $\frac{63}{400}$.", r"\frac{63}{400}", 1),
    (r"\dfrac{1}{2}", ".5", 1),
    (r"-\frac{1}{2}", -0.5, 1),
    (r"-\frac12", "0.5", 0),
    ("3/4", "1/4", 0),
    ("the answer is 1/4", 0.25, 1),
    ("7 / 2", 3.5, 1),
    ("1 1/2", 1.5, 1),
    ("1½", 1.5, 1),
    (r"1\frac{1}{2}", 1.5, 1),
    ("1,234.5", 1234.5, 1),
    ("1.234,5", 1234.5, 1),
    ("1 234 567", 1234567, 1),
    ("1\u202f234", 1234, 1),
    ("1{,}234", "1,234", 1),
    ("25%", 0.25, 1),
    (r"25\%", "25 percent", 1),
    ("0.25", "25%", 1),
    ("25", "25%", 0),
    ("\u22123", -3, 1),
    ("\u22123", 3, 0),
    ("\u20133", -3, 1),
    ("minus 3", -3, 1),
    ("x = - 3", -3, 1),
    ("the answer \u2013 3", 3, 1),
    ("1e-3", 0.001, 1),
    (r"3 \times 10^{-2}", 0.03, 1),
    (r"3\times10^{4}", 30000, 1),
    (r"$3.2\cdot10^{-3}$", 0.0032, 1),
    (r"x\approx3.14", 3.14, 1),
    (r"\leq5", 5, 0),
    (r"x\in\{1,2\}\to3", 3, 1),
    (r"+ \frac12", 0.5, 1),
    ("---> 7", 7, 1),
    ("3\u00d710\u2075", 300000, 1),
    ("2 million", 2000000, 1),
    ("$1,200", 1200, 1),
    ("It is 5 km.", 5, 1),
    ("5km", 5, 1),
    ("5 m\u00b2", 5, 1),
    ("**42**", 42, 1),
    ("42!", 42, 1),
    (r"so \boxed{42}, for n = 7", 42, 1),
    ("Sum: 7\n#### 42\n", 42, 1),
    ("4 - so 3+1 = 4", 4, 1),
    ("it is 5 in H2O", 5, 1),
    ("11:30", 30, 0),
    ("(1, 2)", 2, 0),
    ("x = 3 or 4", 4, 0),
    ("x = 3 or x = 4", 4, 0),
    ("x = 1, y = 4", 4, 0),
    ("4, 4", 4, 1),
    ("3-4", 4, 0),
    ("3 to 4", 4, 0),
    ("12/11/2020", 2020, 0),
    ("1.2.3", 3, 0),
    ("x > 3", 3, 0),
    (r"x \leq 3", 3, 0),
    ("\u00b13", 3, 0),
    ("7 - 2", 2, 0),
    ("2 + x", 2, 0),
    ("2^10", 10, 0),
    ("10\u00b2", 102, 0),
    (r"\sqrt{2}", 2, 0),
    ("f(2)", 2, 0),
    ("3x", 3, 0),
    (r"3\pi", 3, 0),
    ("5k", 5, 0),
    ("GPT-4", 4, 0),
    ("1/0", 0, 0),
    ("1e999999999", 1, 0),
    ("9" * 5000, 9, 0),
    ("0.0000004", 1e-9, 0),  # a tolerance is relative, not one for all sizes
    ("1e-7", 0, 1),
    ("", 5, 0),
]


@pytest.mark.parametrize(("response", "answer", "expected"), NUMBERS)
def test_numbers_are_read_as_they_are_written(response, answer, expected):
    assert score(response, {"answer": answer}, method="numeric") == expected


@pytest.mark.parametrize("again", [" ", "-", "\n", "=-", "+ ", " \t", r"\boxed{", "{", "1 ", "_", "<a", "Answer:"])
def test_a_model_that_repeats_itself_is_judged_in_no_time(again):
    started = time.process_time()
    score(f"{again * 20_000}7", {"answer": 7}, method="numeric", extract=ANSWER)
    score(f"7{again * 20_000}", {"answer": 7}, method="numeric", extract=ANSWER)
    assert time.process_time() - started < 1.2  # twice 20,000 is half a second at most; it was up to ten


def test_the_last_closed_box_counts():
    text = r"\boxed{\frac{1}{2}} then \boxed{3} } and \boxed{4"
    assert score(text, {"answer": 3}, method="numeric") == 1
    assert score(r"\boxed{\boxed{\frac{1}{2}}}", {"answer": 0.5}, method="numeric") == 1


@pytest.mark.parametrize(
    "answer",
    ["12:30", "(5, 2)", "3 or 4", "none", "five", r"\sqrt{2}", "x > 3", "3x", "2^10", "3,5", "2024-01-05", True],
)
def test_numeric_refuses_a_reference_that_is_not_one_number(answer):
    with pytest.raises(ErpError, match=r"is not one number; give reward_model=verifier_math for mathematics"):
        score("3", {"answer": answer}, method="numeric")


@pytest.mark.parametrize("method", ["exact", "numeric", "math"])
@pytest.mark.parametrize("answer", [None, "", " ", ["a", "b"], {"a": 1}, float("nan"), float("inf")])
def test_a_reference_that_says_nothing_is_refused(method, answer):
    """None was once the text "None", and a list its Python text."""
    with pytest.raises(ErpError, match="give a text or a number"):
        score(str(answer), {"answer": answer}, method=method)


def test_all_prompts_with_a_bad_reference_are_counted():
    prompts = [Pair(f"p{i}", "", None, {"answer": "3 or 4" if i % 3 else 3}) for i in range(9)]
    with pytest.raises(ErpError, match=r"3 or 4' \('p1'\): is not one number; .* \(and 5 more of 9 prompts\)$"):
        Verifier("numeric").check(prompts)


def test_units_decimal_comma_and_percent_are_options():
    km = {"answer": "5 km"}
    with pytest.raises(ErpError, match=r"has a unit; give reward_model.units=ignore or same"):
        score("5 km", km, method="numeric")
    said = ["5 km", "5km.", "5", "5 miles", "$5"]
    assert [score(text, km, method="numeric", units="ignore") for text in said] == [1, 1, 1, 1, 1]
    assert [score(text, km, method="numeric", units="same") for text in said] == [1, 1, 0, 0, 0]
    assert [score(text, {"answer": "$5"}, method="numeric", units="same") for text in said] == [0, 0, 0, 0, 1]
    assert score("5 m\u00b2", {"answer": "5 m^2"}, method="numeric", units="same") == 1
    assert score("5 m\u00b3", {"answer": "5 m^2"}, method="numeric", units="same") == 0
    comma = {"method": "numeric", "decimal": ","}
    assert [score(text, {"answer": "3,5"}, **comma) for text in ["3,5", "3.5", "35"]] == [1, 0, 0]
    assert [score(text, {"answer": "1.234"}, **comma) for text in ["1234", "1.234,0"]] == [1, 1]
    assert [score(text, {"answer": 25}, method="numeric", percent=1) for text in ["25%", "25", ".25"]] == [1, 1, 0]


def test_answers_that_numeric_cannot_read_are_counted():
    judge = Verifier("numeric")
    assert judge.score([Pair("p", text, None, {"answer": 3}) for text in ["3", "x > 3", "", "4"]]) == [1, 0, 0, 0]
    assert judge.counts["no_number"] == 2


MATHEMATICS = [
    (r"\frac{64}{400}", r"\frac{63}{400}", 0),
    ("Answer: 0.1575", r"\frac{63}{400}", 1),
    ("3/4", "1/4", 0),
    ("11:30", "12:30", 0),
    ("12:30", "12:30", 1),
    ("(1, 2)", "(5, 2)", 0),
    ("The point is (5, 2).", "(5, 2)", 1),
    ("Answer: $(5,2)$.", "(5, 2)", 1),
    ("(5, 3)", "(7, 4)", 0),  # both would be the empty interval
    ("x = 3 or 4", "4", 0),
    ("a: 3, b: 4", "4", 0),
    ("Answer: 4, 3", "3 or 4", 1),
    ("Answer: 3", "3 or 4", 0),
    (r"Answer: $\{4, 3\}$", r"\{3, 4\}", 1),
    (r"so $2\sqrt{2}$", r"\sqrt{8}", 1),
    (r"so $2\sqrt{3}$", r"\sqrt{8}", 0),
    (r"\boxed{2^{10}}, where n = 3", "1024", 1),
    ("It is 1024.", "2^{10}", 1),
    ("The result is (x-1)(x+1)", "x^2-1", 1),
    ("The result is (x-1)(x-1)", "x^2-1", 0),
    ("Answer: 120", "5!", 1),
    ("Answer: 5!", "5", 0),
    ("Answer: [1, 2]", "(1, 2)", 0),
    ("Answer: $x > 3$", "3", 0),
    ("Answer: $3 < x$", "x > 3", 1),
    ("Answer: y = 1 + 2x", "y = 2x + 1", 1),
    ("Answer: 3", "3x", 0),
    ("Answer: \u22123", "-3", 1),
    ("Answer: 25%", "0.25", 1),
    ("Answer: 25", "25%", 0),
    ("Answer: 5", "$5", 1),
    ("The number is even.", r"\text{even}", 1),
    ("Answer: **Odd**", r"\text{even}", 0),
    ("sirPa", "Paris", 0),  # no product of five symbols
    ("Answer: (C)", "C", 1),
    ("Answer: (B)", r"\text{(C)}", 0),
    ("", "5", 0),
    ("Answer: 2^{-2}", "25%", 1),
    (")]}$$$\\\\{{", "5", 0),
]


def test_mathematics():
    judge = Verifier("math", extract=ANSWER, units="ignore")
    pairs = [Pair("p", response, None, {"answer": answer}) for response, answer, _ in MATHEMATICS]
    judge.check(pairs)
    scored = dict(zip([case[:2] for case in MATHEMATICS], judge.score(pairs), strict=True))
    assert scored == {case[:2]: case[2] for case in MATHEMATICS}


def test_a_comparison_that_takes_too_long_is_scored_0_and_counted_and_the_next_goes_on():
    judge = Verifier("math", timeout_s=2)
    endless = Pair("p", "10^{10^{10^{10}}}", None, {"answer": "9^{9^{9^{9}}}"})
    fine = Pair("p", r"\boxed{\sqrt{4}}", None, {"answer": 2})
    assert judge.score([fine, endless, fine]) == [1, 0, 1]
    assert judge.counts["timed_out"] == 1


@pytest.mark.parametrize("answer", ["She has 3 + 4 apples", r"\frac{1}{"])
def test_math_refuses_what_is_no_mathematics(answer):
    with pytest.raises(ErpError, match="math-verify cannot read it; correct it, or give reward_model=verifier_exact"):
        Verifier("math").check([Pair("p", "", None, {"answer": answer})])


def test_math_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ErpError, match=r"needs the package math-verify; pip install 'erp\[math\]'$"):
        Verifier("math").check([Pair(f"p{i}", "", None, {"answer": "x"}) for i in range(3)])


@pytest.mark.parametrize(
    ("response", "answer", "expected"),
    [("42", 42.0, 1), ("caf\u00e9", "cafe\u0301", 1), ("\u22123", "-3", 1), ("2\u00b3", "23", 0), ("true", True, 1)],
)
def test_exact_compares_what_is_written(response, answer, expected):
    """A whole number that a file made a float; two codings of one letter; a typographer's minus."""
    assert score(response, {"answer": answer}, method="exact") == expected


@pytest.mark.parametrize("pattern", ["", "a*", "x?|y", None, ["a"]])
def test_a_pattern_that_says_nothing_is_refused(pattern):
    with pytest.raises(ErpError, match=r"is found in every text|give a text or a number"):
        score("8", {"pattern": pattern}, method="regex")


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
