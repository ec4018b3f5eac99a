import math

import pytest

from erp.collect.rewards.base import Pair
from erp.collect.rewards.yes_logit import YesLogit
from erp.engines.base import Engine, Failure
from erp.errors import ErpError

FAKE = "tests.collect.rewards.test_yes_logit.LengthEngine"


class LengthEngine(Engine):
    """Log-odds = length of the ending; keeps what it was asked."""

    concurrency = 3

    def __init__(self) -> None:
        self.asked = []

    def log_odds(self, prefix, endings, member, yes, no):
        self.asked.append((prefix, tuple(endings), member.weights, tuple(yes), tuple(no)))
        return [math.nan if "nan" in e else Failure("gone") if "gone" in e else float(len(e)) for e in endings]


class Silent(Engine):
    """Generates only."""


def adapter(**options):
    return YesLogit(engine={"_target_": FAKE}, model="m", **options)


def test_responses_of_a_prompt_share_a_prefix_and_keep_their_order():
    judge = adapter(question="Q {prompt}\nA {response}\nRight?")
    pairs = [Pair("p", "one"), Pair("p", "three"), Pair("q", "x"), Pair("r", "four")]
    tail = len("\nRight?")
    assert judge.score(pairs) == [3 + tail, 5 + tail, 1 + tail, 4 + tail]
    prefixes = sorted(entry[0][0]["content"] for entry in judge.engine.asked)
    assert prefixes == ["Q p\nA ", "Q q\nA ", "Q r\nA "]
    assert ("one\nRight?", "three\nRight?") in [entry[1] for entry in judge.engine.asked]


def test_what_is_not_finite_is_missing_and_counted_and_a_failure_stays_one():
    judge = adapter()
    assert judge.score([]) == []
    missing, failed, good = judge.score([Pair("p", "nan"), Pair("p", "gone"), Pair("p", "fine")])
    assert missing is None
    assert failed == Failure("gone")
    assert good > 0
    assert judge.counts["non_finite"] == 1


def test_braces_in_a_prompt_are_text():
    judge = adapter()
    judge.score([Pair("what is {response} in {x}?", "{prompt}")])
    ((prefix, endings, *_),) = judge.engine.asked
    assert "what is {response} in {x}?" in prefix[0]["content"]
    assert endings[0].startswith("{prompt}")


@pytest.mark.parametrize("question", ["{prompt}", "{response} {prompt}", "nothing"])
def test_a_question_needs_prompt_and_then_response(question):
    with pytest.raises(ErpError, match=r"reward_model\.question"):
        adapter(question=question)


def test_an_engine_without_probabilities_is_refused():
    with pytest.raises(ErpError, match="choose llamacpp or transformers"):
        YesLogit(engine={"_target_": "tests.collect.rewards.test_yes_logit.Silent"}, model="m")


def test_by_llama_cpp_against_what_sampling_would_say(tmp_path):
    pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    from tests.engines.tiny_gguf import write_tiny_gguf

    write_tiny_gguf(tmp_path / "tiny.gguf")
    node = {"_target_": "erp.engines.llamacpp.LlamaCpp", "threads": 1, "slots": 2, "context": 128}
    judge = YesLogit(engine=node, model="m", file="tiny.gguf", question="{prompt}:{response}?")
    judge.look_in(str(tmp_path))
    pairs = [Pair("abc", "def"), Pair("abc", "xyz"), Pair("other", "def")]
    together = judge.score(pairs)
    alone = [judge.score([pair])[0] for pair in pairs]
    judge.engine.close()
    assert together == pytest.approx(alone, abs=0.05)
    assert len(set(together)) == 3


def test_by_transformers_against_a_forward_pass_by_hand(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tests.engines.tiny import tiny_llama

    folder = tiny_llama(tmp_path / "model")
    node = {"_target_": "erp.engines.transformers.TransformersEngine", "dtype": "float32", "device": "cpu"}
    judge = YesLogit(engine=node, model=str(folder), question="Is this right? {prompt} Answer: {response} Yes or No?")
    pairs = [Pair("two and three", "five"), Pair("two and three", "a short poem about the sea"), Pair("Paris", "no")]
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    (yes, *_), (no, *_) = (tokenizer.encode(word, add_special_tokens=False) for word in ("Yes", "No"))
    for pair, score in zip(pairs, judge.score(pairs), strict=True):
        said = f"Is this right? {pair.prompt} Answer: {pair.response} Yes or No?"
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": said}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"]
        with torch.inference_mode():
            logits = model(ids).logits[0, -1]
        assert score == pytest.approx(float(logits[yes] - logits[no]), abs=1e-5)
