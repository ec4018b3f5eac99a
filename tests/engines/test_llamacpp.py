import math

import pytest

from erp.config import Member
from erp.engines.base import Failure, NextToken, Request, Response
from erp.engines.llamacpp import LlamaCpp
from erp.errors import ErpError
from erp.files import sha256_file

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

from tests.engines.calls import sampled
from tests.engines.tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    write_tiny_gguf(folder / "tiny.gguf")
    return folder


@pytest.fixture(scope="module")
def engine(folder):
    engine = LlamaCpp(threads=1, slots=4, context=128)
    engine.look_in(str(folder))
    yield engine
    engine.close()


def member(**changes):
    decoding = {"temperature": 1.0, "max_tokens": 6, **changes.pop("decoding", {})}
    return Member(**{"name": "tiny", "model": "nobody/Tiny-GGUF", "file": "tiny.gguf", "decoding": decoding, **changes})


def ask(engine, texts, k, seed=1, **changes):
    m = member(**changes)
    requests = [Request(m.messages(text), seed + 1000 * i) for i, text in enumerate(texts)]
    answers = dict(sampled(engine, requests, m, k))
    return [answers[i] for i in range(len(texts))]


def test_every_request_is_answered_k_times_with_its_tokens_counted(engine):
    answers = ask(engine, ["a", "bcd", "ef"], 3)
    assert [len(answer) for answer in answers] == [3, 3, 3]
    around = 2 + 1  # <|user|> ... <|end|> <|assistant|>, and a token for every byte between
    assert [[r.prompt_tokens for r in answer] for answer in answers] == [[around + n] * 3 for n in (1, 3, 2)]
    assert {r.completion_tokens for answer in answers for r in answer if r.finish_reason == "length"} == {6}
    assert all(r.completion_tokens <= 6 for answer in answers for r in answer)


def test_null_is_llama_cpps_own_default(engine):
    """Its server says temperature .8 and top_p .95, and goes on to the end of the context."""
    (own,) = ask(engine, ["hello"], 4, decoding={"temperature": None, "top_p": None, "max_tokens": 20})
    (same,) = ask(engine, ["hello"], 4, decoding={"temperature": 0.8, "top_p": 0.95, "max_tokens": 20})
    assert [r.text for r in own] == [r.text for r in same]
    (long,) = ask(engine, ["hello"], 2, decoding={"max_tokens": None})
    assert all(r.finish_reason == "stop" or r.prompt_tokens + r.completion_tokens >= 127 for r in long)


def test_sample_j_has_seed_plus_j(engine):
    longer = {"max_tokens": 20}
    (first,) = ask(engine, ["hello"], 4, seed=5, decoding=longer)
    (later,) = ask(engine, ["hello"], 2, seed=7, decoding=longer)
    assert [r.text for r in first[2:]] == [r.text for r in later]
    assert len({r.text for r in first}) == 4


def test_more_samples_than_slots(engine):
    (nine,) = ask(engine, ["hello"], 9, seed=5)
    (four,) = ask(engine, ["hello"], 4, seed=5)
    assert len(nine) == 9
    assert nine[:4] == four


def test_no_setting_of_the_server_leaks_into_the_sampling(engine):
    """Its defaults (top_k 40, top_p .95, min_p .05) would cut the tail of a flat distribution of 263 tokens."""
    (flat,) = ask(engine, ["hello"], 400, decoding={"temperature": 50.0, "max_tokens": 1})
    assert len({r.text for r in flat}) > 60
    (one,) = ask(engine, ["hello"], 20, decoding={"temperature": 50.0, "max_tokens": 1, "top_k": 1})
    assert len({r.text for r in one}) == 1
    (narrow,) = ask(engine, ["hello"], 100, decoding={"temperature": 50.0, "max_tokens": 1, "top_k": 3})
    assert len({r.text for r in narrow}) <= 3


def test_temperature_zero_is_greedy(engine):
    (answers,) = ask(engine, ["hello"], 4, decoding={"temperature": 0.0})
    assert len({r.text for r in answers}) == 1


def test_a_stop_string_ends_a_response_and_is_left_out(engine):
    (free,) = ask(engine, ["hello"], 1, decoding={"temperature": 0.0})
    mark = next(letter for letter in free[0].text if letter.isascii())
    (stopped,) = ask(engine, ["hello"], 1, decoding={"temperature": 0.0, "stop": [mark]})
    assert stopped[0].finish_reason == "stop"
    assert stopped[0].text == free[0].text[: free[0].text.index(mark)]


def test_a_prompt_that_does_not_fit_fails_alone(engine):
    short, long = ask(engine, ["hello", "x" * 500], 2)
    assert isinstance(short[0], Response)
    assert isinstance(long, Failure)
    assert "exceeds the available context" in long.error
    assert long.final


def test_a_chat_template_of_the_members_own(engine):
    plain = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    (answer,) = ask(engine, ["hello"], 1, chat_template=plain)
    assert answer[0].prompt_tokens == 5


def test_log_odds_are_those_that_sampling_shows(tmp_path):
    write_tiny_gguf(tmp_path / "tiny.gguf", sharpness=1.0)  # flat: every letter has a chance
    flat = LlamaCpp(threads=1, slots=8, context=64)
    flat.look_in(str(tmp_path))
    assert isinstance(flat, NextToken)
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    prefix = ({"role": "user", "content": "is it "},)
    (odds,) = flat.log_odds(prefix, ["good"], member(), letters[:13], letters[13:])
    (answers,) = ask(flat, ["is it good"], 3000, decoding={"max_tokens": 1})
    flat.close()
    texts = [r.text for r in answers]
    yes, no = (sum(texts.count(letter) for letter in side) for side in (letters[:13], letters[13:]))
    assert min(yes, no) > 50
    assert odds == pytest.approx(math.log(yes / no), abs=4 * math.sqrt(1 / yes + 1 / no))


def test_log_odds_do_not_depend_on_what_shares_the_prefix(engine):
    m, prefix = member(), ({"role": "user", "content": "is it "},)
    together = engine.log_odds(prefix, ["good", "gold", "bad"], m, ["Yes"], ["No"])
    alone = [engine.log_odds(prefix, [ending], m, ["Yes"], ["No"])[0] for ending in ("good", "gold", "bad")]
    assert together == pytest.approx(alone, abs=0.05)  # the cache holds 16-bit numbers
    assert len(set(together)) == 3
    swapped = engine.log_odds(prefix, ["good"], m, ["No"], ["Yes"])
    assert swapped[0] == pytest.approx(-together[0], abs=0.05)


def test_weights_are_found_by_hash_under_another_name(folder, tmp_path):
    (tmp_path / "renamed.gguf").write_bytes((folder / "tiny.gguf").read_bytes())
    engine = LlamaCpp(threads=1, slots=2, context=64)
    engine.look_in(str(tmp_path))
    (answer,) = ask(engine, ["a"], 1, sha256=sha256_file(folder / "tiny.gguf"))
    assert answer[0].completion_tokens >= 1
    engine.close()


def test_members_of_equal_weights_share_one_server(engine, monkeypatch):
    ask(engine, ["a"], 1)
    server = engine._server
    ask(engine, ["a"], 1, name="other", system="Be brief.")
    assert engine._server is server


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"file": None}, "file: is required"), ({"sha256": "0" * 64, "model": "."}, "sha256")],
)
def test_what_cannot_be_loaded_is_refused_by_name(folder, monkeypatch, changes, said):
    monkeypatch.chdir(folder)
    with pytest.raises(ErpError, match=said):
        ask(LlamaCpp(), ["a"], 1, **changes)


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(b"nothing")
    engine = LlamaCpp()
    engine.look_in(str(tmp_path))
    with pytest.raises(ErpError, match="does not load it"):
        ask(engine, ["a"], 1)


def test_options_out_of_range():
    with pytest.raises(ErpError, match=r"engine\.slots = 0"):
        LlamaCpp(slots=0)


def test_the_template_is_the_models_own(engine):
    assert isinstance(ask(engine, ["hello"], 1)[0], list)
    prompt = engine._post("/apply-template", {"messages": list(member(system="S").messages("hi"))})["prompt"]
    assert prompt == "<|system|>S<|end|><|user|>hi<|end|><|assistant|>"
