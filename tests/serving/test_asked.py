"""What a body asks: its prompt by the rule of training, what it needs, and which conversation it is."""

from __future__ import annotations

import pytest

from erp.config.serve import Capable, Endpoint
from erp.serving.asked import UnreadableError, asked, lacks

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": "answer"},
    {"role": "user", "content": [{"type": "text", "text": "second"}, IMAGE]},
]


def chat(*turns, rule="last_user", **more):
    return asked({"model": "erp/auto", "messages": list(turns or TALK), **more}, "chat", rule)


@pytest.mark.parametrize(
    ("rule", "prompt"),
    [
        ("last_user", "second"),
        ("first_user", "first"),
        ("conversation", "system: Be brief.\n\nuser: first\n\nassistant: answer\n\nuser: second"),
    ],
)
def test_the_prompt_is_what_training_saw_of_such_a_conversation(rule, prompt):
    assert chat(rule=rule).prompt == prompt


def test_a_turn_without_a_text_has_no_prompt():
    assert chat({"role": "user", "content": [IMAGE]}).prompt is None
    assert chat({"role": "user", "content": None}).prompt is None


def test_tool_turns_are_no_prompts_and_need_tools():
    found = chat(*TALK, {"role": "assistant", "content": None, "tool_calls": [{}]}, {"role": "tool", "content": "42"})
    assert found.prompt == "second"
    assert found.needs == {"tools", "images"}
    assert found.continues


@pytest.mark.parametrize(
    ("more", "needs"),
    [
        ({}, set()),
        ({"tools": [{"type": "function"}]}, {"tools"}),
        ({"tools": []}, set()),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, {"json_schema"}),
        ({"response_format": {"type": "json_object"}}, set()),
    ],
)
def test_what_it_takes_to_answer(more, needs):
    assert chat({"role": "user", "content": "hi"}, **more).needs == needs


def test_responses_are_read_likewise():
    def of(given, **more):
        return asked({"model": "erp/auto", "input": given, **more}, "responses", "last_user")

    assert of("hello").prompt == "hello"
    turn = {"role": "user", "content": [{"type": "input_text", "text": "hello"}, {"type": "input_image"}]}
    assert (of([turn]).prompt, of([turn]).needs) == ("hello", {"images"})
    called = [turn, {"type": "function_call", "name": "f"}, {"type": "function_call_output", "output": "42"}]
    assert (of(called).prompt, "tools" in of(called).needs) == ("hello", True)
    for shown in ({"type": "computer_screenshot"}, [{"type": "input_image"}]):  # what a tool saw
        assert "images" in of([{"role": "user", "content": "hello"}, {"output": shown}]).needs
    assert of("x", text={"format": {"type": "json_schema"}}).needs == {"json_schema"}


def test_a_conversation_is_known_by_how_it_begins():
    begun = chat(*TALK[:2])
    assert chat(*TALK).conversation == begun.conversation
    assert not begun.continues
    assert chat({"role": "system", "content": "Be long."}, *TALK[1:]).conversation != begun.conversation
    assert chat({"role": "user", "content": "other"}).conversation != begun.conversation


def test_the_context_is_prompt_and_answer_by_their_length():
    turn = {"role": "user", "content": "x" * 400}
    member = Endpoint(name="m", base_url="http://x/v1", capable=Capable(context=120, images=False, tools=False))
    assert lacks(chat(turn, max_tokens=20), member) == []
    assert lacks(chat({"role": "user", "content": [turn["content"], IMAGE]}, tools=[{}], max_tokens=20), member) == [
        "images",
        "tools",
        "context of 120 tokens, and about 121 are needed",
    ]
    assert lacks(chat(turn), member) == [f"context of 120 tokens, and about {100 + 1024} are needed"]
    assert "are needed" in lacks(chat(turn, max_tokens=int("9" * 4300)), member)[0]


def test_what_a_member_adds_of_its_own_counts_in_its_context():
    turn = {"role": "user", "content": "x" * 400}
    own = {"system": "s" * 40, "shots": [{"user": "u" * 20, "assistant": "a" * 20}], "defaults": {"max_tokens": 30}}
    assert [
        bool(lacks(chat(turn), Endpoint(name="m", base_url="http://x/v1", capable=Capable(context=n), **own)))
        for n in (149, 150)
    ] == [True, False]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": 3, "messages": TALK},
        {"model": "", "messages": TALK},
        {"model": "m"},
        {"model": "m", "messages": []},
        {"model": "m", "messages": "hello"},
        {"model": "m", "messages": ["hello"]},
    ],
)
def test_what_cannot_be_answered_is_said(body):
    with pytest.raises(UnreadableError, match=r"model|messages"):
        asked(body, "chat", "last_user")
