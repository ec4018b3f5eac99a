"""A judge that compares: in both orders, with one member's responses, whoever else is in the table."""

import pytest

from erp.collect.rewards.base import Pair
from erp.collect.rewards.judge_pairwise import PairwiseJudge
from erp.engines.base import Failure
from erp.errors import ErpError
from tests.collect.commands import samples
from tests.engines.chat_server import ChatServer, completion, error

OPTIONS = {"api_key_env": None, "timeout_s": 5.0, "retries": 0, "backoff_s": 0.001, "backoff_max_s": 0.01}
BARE = "{first}|{second}"


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


def asked(body):
    return body["messages"][-1]["content"]


def longest(body, number):
    """The longer of two texts is better."""
    first, second = map(len, asked(body).split("|"))
    return completion(f"Verdict: {'tie' if first == second else 'first' if first > second else 'second'}")


def judged(answer, *pairs, **options):
    """Scores, what was counted, and the calls' texts."""
    with ChatServer(answer) as server:
        judge = PairwiseJudge("j", "anchor", base_url=server.url, **{"rubric": BARE, **OPTIONS, **options})
        return judge.score(pairs), dict(judge.counts), [asked(body) for body in server.bodies]


def against(response, *rivals):
    return Pair("p", response, rivals=rivals)


def test_a_score_is_the_share_of_comparisons_won_in_both_orders():
    scores, counts, calls = judged(longest, against("aaa", "b", "cc", "dddd"), against("e", "ff"), against("gg", "hh"))
    assert scores == [pytest.approx(2 / 3), 0.0, 0.5]
    assert counts == {}
    one_way = {"aaa|b", "aaa|cc", "aaa|dddd", "e|ff", "gg|hh"}
    assert sorted(calls) == sorted(one_way | {"|".join(reversed(call.split("|"))) for call in one_way})


def test_a_judge_that_favours_a_place_gives_a_half_and_is_told():
    scores, counts, _ = judged(lambda body, number: completion("Verdict: first"), against("a", "b", "c"))
    assert scores == [0.5]
    assert counts == {"swayed": 2}


def test_the_same_text_is_a_tie_that_nobody_is_asked_about():
    scores, _, calls = judged(longest, against("aaa", "aaa", "b"))
    assert scores == [0.75]
    assert len(calls) == 2
    assert judged(longest, against("aaa", "aaa", "aaa"))[::2] == ([0.5], [])
    assert judged(lambda body, number: completion("Hm."), against("aaa", "aaa", "b"))[0] == [None]


def test_equal_rivals_are_asked_about_once_and_count_each():
    scores, _, calls = judged(longest, against("aaa", "b", "b", "cccc"))
    assert scores == [pytest.approx(2 / 3)]
    assert len(calls) == 4


def test_a_comparison_without_a_verdict_counts_for_nothing():
    def answer(body, number):
        return completion("I cannot say.") if asked(body) == "b|aaa" else longest(body, number)

    scores, counts, _ = judged(answer, against("aaa", "b", "cccc"), against("aaa", "b"))
    assert scores == [0.0, None]
    assert counts == {"unparsable": 2}
    cut = judged(lambda body, number: completion("Verdict: first", finish_reason="length"), against("a", "b"))
    assert cut[:2] == ([None], {"truncated": 2})


@pytest.mark.parametrize(
    ("verdict", "score"), [("[[A]]", 1.0), ("[[C]]", 0.5), ("[[B]] no, [[A]]", 1.0), ("[[D]]", None)]
)
def test_verdicts_in_other_words(verdict, score):
    def answer(body, number):
        first = asked(body).startswith("mine")
        return completion(verdict if first else verdict.translate(str.maketrans("AB", "BA")))

    assert judged(answer, against("mine", "other"), pattern=r"\[\[(A|B|C)\]\]")[0] == [score]


def test_who_has_no_rival_is_asked_again_later():
    (score,), _, calls = judged(longest, against("a", "b"), rivals=2)
    assert isinstance(score, Failure)
    assert not score.final
    assert "anchor has 1 responses to this prompt, of 2 to compare with" in score.error
    assert calls == []


def test_a_call_that_fails_is_no_verdict():
    (failed, won), _, _ = judged(
        lambda body, number: error(500, "no") if "b" in asked(body) else longest(body, number),
        against("aa", "b"), against("aa", "c"),
    )  # fmt: skip
    assert isinstance(failed, Failure)
    assert won == 1.0


@pytest.mark.parametrize(
    ("options", "said"),
    [({"rivals": 0}, "reward_model.rivals = 0"), ({"rubric": "{first} {prompt}"}, "lacks {first} or {second}")],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ErpError, match=said):
        PairwiseJudge("j", "anchor", **{"rubric": BARE, **OPTIONS, **options})


def test_a_table_is_compared_with_one_of_its_members(collect, tmp_path):
    """Who joins later is compared with the same responses, and nobody's score changes."""
    judge = ["reward_model=judge_pairwise", "reward_model.model=j", "reward_model.api_key_env=null"]
    judge += ["reward_model.rubric='{first}|{second}'", "reward_model.rivals=2"]
    three = "[{name: small}, {name: org/big}, {name: late}]"

    def answer(body, number):  # by the alphabet
        first, second = asked(body).split("|")
        return completion("Verdict: " + ("tie" if first == second else "first" if first < second else "second"))

    with ChatServer(answer) as server:
        judge.append(f"reward_model.base_url={server.url}")
        code, _, err = collect(*judge, "reward_model.against=small", "k=1")
        assert code == 2
        assert "reward_model.rivals = 2: a member has k = 1 responses to a prompt; give no more" in err
        assert not (tmp_path / "table").exists()
        code, _, err = collect(*judge, "reward_model.against=nobody")
        assert code == 2
        assert "reward_model.against = nobody: is no member of the table; allowed are small, org/big; name one" in err
        code, _, err = collect(*judge, "reward_model.against=small")
        assert code == 0, err
        before = samples(tmp_path, "judge_pairwise")
        code, out, err = collect(*judge, "reward_model.against=small", members=three)
        assert code == 0, err
        assert "shares of comparisons with small that were won" in out
    table = samples(tmp_path, "judge_pairwise")
    kept = table[table["model"] != "late"].reset_index(drop=True)
    assert kept["reward"].tolist() == before["reward"].tolist()
    for _, rows in table.groupby("prompt_id"):
        rivals = rows[rows["model"] == "small"].sort_values("sample")["response"].tolist()[:2]
        for row in rows.itertuples():
            worth = [0.5 if row.response == rival else float(row.response < rival) for rival in rivals]
            assert row.reward == pytest.approx(sum(worth) / 2)


@pytest.mark.parametrize("member", ["small", "org/big"])
def test_a_judge_that_never_says_who_won_is_told_though_texts_of_one_s_own_tie(collect, member):
    with ChatServer(lambda body, number: completion("It is fine.")) as server:
        chosen = ["reward_model=judge_pairwise", "reward_model.model=j", "reward_model.api_key_env=null"]
        chosen += [
            f"reward_model.base_url={server.url}",
            f"reward_model.against={member}",
            "reward_model.concurrency=4",
        ]
        code, _, err = collect(*chosen, "block=7", "k=9")
        assert code == 2
        assert "none of the first 8 responses has a usable score" in err
        assert len(server.calls) < 60
