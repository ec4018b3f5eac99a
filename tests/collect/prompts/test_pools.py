"""The pools that come with the package and are too large to run here: their files hold what a collection needs."""

import pytest
import yaml
from jinja2 import Environment

from erp.compose import conf_folder
from erp.config import Pool

PAPER = {
    "google/gemma-7b-it": 8.54e9,
    "meta-llama/Llama-3.1-8B-Instruct": 8.03e9,
    "google/gemma-2-9b-it": 9.24e9,
    "google/gemma-2-27b-it": 27.2e9,
    "meta-llama/Llama-3.1-70B-Instruct": 70.6e9,
}


def read(option):
    return yaml.safe_load((conf_folder() / "pool" / f"{option}.yaml").read_text())


def pool(option):
    return Pool.model_validate({key: value for key, value in read(option).items() if key != "defaults"})


@pytest.mark.parametrize("option", ["paper", "small_open"])
def test_members_are_whole_and_distinct(option):
    members = pool(option).members
    assert len({m.name for m in members}) == len({m.weights for m in members}) == len(members)
    for member in members:
        assert member.active_parameters
        assert member.resources["num_gpus"] >= 1
        assert member.decoding == members[0].decoding
        assert member.system is None  # Gemma's templates refuse one
        assert [turn["role"] for turn in member.messages("Hello")] == ["user"]
    assert read(option)["defaults"] == [{"/engine@_global_.engine": "vllm"}, "_self_"]


def test_the_paper_s_pool_is_the_paper_s_with_every_price():
    made = pool("paper")
    assert {m.model: m.active_parameters for m in made.members} == pytest.approx(PAPER, rel=2e-3)
    assert all(m.input_usd_per_mtok and m.output_usd_per_mtok for m in made.members)
    assert "2024" in made.prices_as_of
    assert "openrouter.ai" in made.prices_as_of
    assert made.decoding.temperature == made.decoding.top_p == 1


def test_the_small_pool_is_a_ladder_without_prices_that_fits_a_24_gb_card():
    members = pool("small_open").members
    parameters = [m.active_parameters for m in members]
    assert parameters == sorted(parameters)
    assert max(parameters) * 2 < 17e9  # bytes in bfloat16, with room for a batch
    assert parameters[-1] / parameters[0] > 10
    assert all(m.input_usd_per_mtok is None for m in members)
    assert pool("small_open").prices_as_of is None


def test_qwen3_answers_after_an_empty_thought():
    """What Qwen3's own template writes with enable_thinking=False, for messages without tools."""
    members = {m.name: m for m in pool("small_open").members}
    hybrid = [m for name, m in members.items() if name.startswith("qwen3") and "2507" not in name]
    assert len(hybrid) == 3
    for member in hybrid:
        template = Environment(trim_blocks=True, lstrip_blocks=True).from_string(member.chat_template)
        text = template.render(
            messages=[{"role": "system", "content": "Be brief."}, *member.messages("Hi!")], add_generation_prompt=True
        )
        assert text == (
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n"
            "<|im_start|>assistant\n<think>\n\n</think>\n\n"
        )
    assert members["qwen3-4b-instruct-2507"].chat_template is None  # never thinks
