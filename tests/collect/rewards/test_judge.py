"""A judge behind an address: what it is told, and which of its numbers count."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from erp.build import build
from erp.collect.rewards.base import Pair, RewardAdapter
from erp.collect.rewards.judge import RUBRIC, Judge
from erp.engines.base import Failure
from erp.errors import ErpError
from tests.engines.chat_server import ChatServer, completion, error

ENV = "ERP_TEST_API_KEY"
PAIR = Pair("What is 2+2?", "4")


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv(ENV, "sk-secret")
    monkeypatch.setenv("NO_PROXY", "*")


def judge(url, **options):
    given = {"api_key_env": ENV, "timeout_s": 5.0, "retries": 1, "backoff_s": 0.001, "backoff_max_s": 0.01, **options}
    return Judge("org/judge", base_url=url, **given)


def score(verdict, finish_reason="stop", **options):
    """The score read from one verdict, and what was counted."""
    with ChatServer(lambda body, number: completion(verdict, finish_reason=finish_reason)) as server:
        used = judge(server.url, **options)
        (result,) = used.score([PAIR])
    return result, dict(used.counts)


def test_a_null_field_is_left_out():
    with ChatServer(lambda body, number: completion("Score: 9")) as server:
        judge(server.url, temperature=None, max_tokens=None).score([PAIR])
    ((_, _, _, body),) = server.calls
    assert body.keys() == {"model", "messages"}


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("Right and short.\n\nScore: 9", 9.0),
        ("score = 7.5", 7.5),
        ("**Score:** 8/10", 8.0),
        ("Score: **3**", 3.0),
        ("It asks me to say Score: 10, which is no answer.\nScore: 2", 2.0),
        ("<think>Score: 5? Too low.</think>\nScore: 6.", 6.0),
    ],
)
def test_the_last_score_counts(verdict, expected):
    assert score(verdict) == (expected, {})


@pytest.mark.parametrize(
    "verdict", ["", "I would say eight.", "Score: high", "8", "A low score. 2 of 3 are wrong.", "Score: 1e9", None]
)
def test_no_score_is_a_missing_one(verdict):
    assert score(verdict) == (None, {"unparsable": 1})


@pytest.mark.parametrize("number", ["0", "11", "-3", "10.5"])
def test_a_score_out_of_range_is_missing(number):
    assert score(f"Score: {number}") == (None, {"out_of_range": 1})


def test_a_verdict_that_was_cut_off_is_missing():
    """Of "Score: 10" the first token may be "1"."""
    assert score("Score: 1", finish_reason="length") == (None, {"truncated": 1})


@pytest.mark.parametrize(("said", "unit"), [(-1, 0.0), (0, 0.25), (3, 1.0)])
def test_rescaled_to_the_unit_interval(said, unit):
    assert score(f"Score: {said}", minimum=-1.0, maximum=3.0, rescale="unit") == (unit, {})


def test_a_pattern_of_ones_own():
    assert score("[[7]] then [[4]]", pattern=r"\[\[(\d+)\]\]")[0] == 4.0
    assert score("verdict: yes", pattern=r"verdict: (\d+)?")[1] == {"unparsable": 1}
    assert score("verdict: yes", pattern=r"verdict: (\w+)")[1] == {"unparsable": 1}


def test_what_the_judge_is_told():
    with ChatServer(lambda body, number: completion("Score: 5")) as server:
        judge(server.url, extra_body={"seed": 1}, max_tokens=50).score([PAIR])
        judge(server.url, temperature=None, max_tokens_field="max_completion_tokens").score([PAIR])
    first, second = server.bodies
    (message,) = first.pop("messages")
    assert message["role"] == "user"
    assert "<prompt>\nWhat is 2+2?\n</prompt>" in message["content"]
    assert "<response>\n4\n</response>" in message["content"]
    assert "from 1 (" in message["content"]
    assert "to 10 (" in message["content"]
    assert first == {"model": "org/judge", "temperature": 0, "max_tokens": 50, "seed": 1}
    assert second.keys() == {"model", "messages", "max_completion_tokens"}
    assert server.calls[0][2]["authorization"] == "Bearer sk-secret"


def test_a_placeholder_in_a_prompt_or_response_is_text():
    rubric = "{prompt}|{response}|{reference}|{other}|{minimum:g}"
    pairs = [Pair("{response}", "{prompt} {reference}"), Pair("p", "r", reference={"answer": "\u00e9 {prompt}"})]
    with ChatServer(lambda body, number: completion("Score: 5")) as server:
        judge(server.url, rubric=rubric, concurrency=1).score(pairs)
    assert [body["messages"][0]["content"] for body in server.bodies] == [
        "{response}|{prompt} {reference}|none|{other}|{minimum:g}",
        'p|r|{"answer": "\u00e9 {prompt}"}|{other}|{minimum:g}',
    ]


def test_scores_stand_in_the_order_of_the_pairs_and_failures_among_them():
    def grades(body, number):
        said = body["messages"][0]["content"]
        if said == "2":
            return error(503, "busy")
        if said == "3":
            return error(400, "too long")
        return completion(f"Score: {said}")

    with ChatServer(grades) as server:
        used = judge(server.url, rubric="{response}", maximum=100.0)
        scores = used.score([Pair("p", str(i)) for i in range(40)])
    assert scores[0] is None
    assert scores[2] == Failure("503: busy (attempt 2, the last)")
    assert scores[3] == Failure("400: too long", final=True)
    assert scores[4:] == [float(i) for i in range(4, 40)]
    assert used.counts == {"out_of_range": 1}
    assert used.score([]) == []


def test_a_wrong_key_is_an_error_of_the_reward_model():
    with (
        ChatServer(lambda body, number: error(401, "no such key: sk-secret")) as server,
        pytest.raises(
            ErpError, match=rf"^reward_model\.base_url = .* answers 401 .*reward_model.api_key_env = {ENV}$"
        ) as caught,
    ):
        judge(server.url).score([PAIR])
    assert "sk-secret" not in str(caught.value)


def test_about_says_which_judge_with_which_rubric():
    about = judge("https://host/v1/").about()
    assert about == {
        "base_url": "https://host/v1",
        "model": "org/judge",
        "max_tokens": 1024,
        "temperature": 0.0,
        "rubric_sha256": hashlib.sha256(RUBRIC.encode()).hexdigest(),
        "pattern": about["pattern"],
        "minimum": 1.0,
        "maximum": 10.0,
        "rescale": "none",
    }
    json.dumps(about)


def test_the_config_file_builds_with_its_defaults():
    node = yaml.safe_load((Path(__file__).parents[3] / "conf" / "reward_model" / "judge.yaml").read_text())
    built = build(node, RewardAdapter, key="reward_model")
    assert built.about() == Judge(node["model"]).about()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"rubric": "{prompt}"}, r"reward_model\.rubric: has no \{response\}"),
        ({"pattern": "("}, r"reward_model\.pattern = \(: is no regular expression"),
        ({"pattern": "score"}, r"reward_model\.pattern = score: has no group"),
        ({"minimum": 3, "maximum": 3}, r"reward_model\.minimum = 3: is not below"),
        ({"maximum": float("nan")}, r"reward_model\.minimum = 1: is not below"),
        ({"rescale": "sigmoid"}, r"reward_model\.rescale = sigmoid"),
        ({"base_url": "https://u:p@host/v1"}, r"reward_model\.base_url: holds credentials"),
        ({"extra_body": {"model": "x"}}, r"reward_model\.extra_body: model"),
        ({"concurrency": 0}, r"reward_model\.concurrency = 0"),
    ],
)
def test_bad_options_are_refused_by_name(options, line):
    node = {"_target_": "erp.collect.rewards.judge.Judge", "model": "m", **options}
    with pytest.raises(ErpError, match=line):
        build(node, RewardAdapter, key="reward_model")
