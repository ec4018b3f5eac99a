"""yes_logit from the log-probabilities that a server tells."""

import math

import pytest

from erp.collect.rewards.base import Pair
from erp.collect.rewards.yes_logit_served import ServedYesLogit
from erp.engines.base import Failure
from erp.errors import ErpError
from tests.engines.chat_server import ChatServer, completion

OPTIONS = {"api_key_env": None, "timeout_s": 5.0, "retries": 0, "backoff_s": 0.001, "backoff_max_s": 0.01}


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


def first_token(**probabilities):
    """A completion of one token, with what is told of it."""
    told = [{"token": token, "logprob": p if p is None else math.log(p)} for token, p in probabilities.items()]
    body = completion("x")
    body["choices"][0]["logprobs"] = {"content": [{"token": "x", "logprob": -1.0, "top_logprobs": told}]}
    return body


def scored(body, *pairs, **options):
    with ChatServer(lambda _, number: body) as server:
        model = ServedYesLogit("m", base_url=server.url, **OPTIONS, **options)
        return model.score(pairs or [Pair("p", "r")]), dict(model.counts), server.bodies


def test_the_score_is_the_log_odds_of_the_first_token():
    body = first_token(**{"Yes": 0.5, " Yes": 0.1, "No": 0.2, "Yesterday": 0.1})
    assert scored(body)[:2] == ([pytest.approx(math.log(0.6 / 0.2))], {})
    lower = first_token(yes=0.25, Yes=0.25, No=0.25)
    assert scored(lower, yes=["Yes", "yes"])[0] == [pytest.approx(math.log(2))]


def test_a_word_that_is_not_told_is_as_likely_as_the_last_one_told():
    assert scored(first_token(Yes=0.9, Maybe=0.01))[:2] == ([pytest.approx(math.log(90))], {"bounded": 1})
    assert scored(first_token(No=0.9, Maybe=0.01, Hm=None))[:2] == ([pytest.approx(-math.log(90))], {"bounded": 1})
    assert scored(first_token(Maybe=0.9, Hm=0.1))[:2] == ([None], {"neither": 1})


def test_what_is_asked():
    _, _, (body,) = scored(
        first_token(Yes=0.5, No=0.5), Pair("what is {response}?", "{prompt}"), question="Q {prompt} A {response} ok?",
        top_logprobs=5, extra_body={"chat_template_kwargs": {"enable_thinking": False}},
    )  # fmt: skip
    assert body["messages"] == [{"role": "user", "content": "Q what is {response}? A {prompt} ok?"}]
    assert {key: body[key] for key in body if key != "messages"} == {
        "model": "m", "max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 5,
        "chat_template_kwargs": {"enable_thinking": False},
    }  # fmt: skip


def test_an_answer_without_log_probabilities_is_a_missing_score():
    assert scored(completion("Yes"))[:2] == ([None], {"no_logprobs": 1})
    filtered = completion("", finish_reason="content_filter")
    filtered["choices"][0]["logprobs"] = {"content": []}
    assert scored(filtered)[:2] == ([None], {"no_logprobs": 1})


def test_an_answer_that_was_broken_off_is_a_failure():
    ((failed,), _, _) = scored(completion("", finish_reason="error"))
    assert isinstance(failed, Failure)


def test_a_server_without_log_probabilities_is_told(collect):
    with ChatServer(lambda _, number: completion("Yes")) as server:
        chosen = (
            "reward_model=yes_logit_served",
            "reward_model.api_key_env=null",
            f"reward_model.base_url={server.url}",
        )
        code, _, err = collect(*chosen, "block=7", "k=9")
        assert code == 2
        assert "none of the first 8 responses has a usable score (8 no_logprobs)" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"question": "{response}"}, "reward_model.question"),
        ({"top_logprobs": 1}, "reward_model.top_logprobs = 1"),
        ({"yes": ["Yes"], "no": ["Yes"]}, "reward_model.yes, reward_model.no"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ErpError, match=said):
        ServedYesLogit("m", **OPTIONS, **options)
