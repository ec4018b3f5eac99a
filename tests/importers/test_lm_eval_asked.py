"""What lm-evaluation-harness asked, out of what it sent."""

import json

import pytest

from tests.importers.lm_eval_logs import CHAT, DOCS, EXAMPLES, asked, plain, read, results, sample, write


@pytest.mark.parametrize("doc_to_text", ["Q: {{question}}\nA:", "def doc_to_text(doc):\n    return f'Q: {doc}'\n"])
@pytest.mark.parametrize("sent", [
    EXAMPLES + "{}",
    f"<|user|>\n{EXAMPLES}{{}}<|end|>\n<|assistant|>\n",
    "<|system|>\nDo sums.<|end|>\n<|user|>\nQ: What is 8 plus 1?\nA:<|end|>\n<|assistant|>\n9<|end|>\n<|user|>\n{}"
    "<|end|>\n<|assistant|>\n",
])  # fmt: skip
def test_the_prompt_is_the_question_without_template_description_and_examples(tmp_path, doc_to_text, sent):
    chat = sent.startswith("<|")
    facts = results("m", config={"doc_to_text": doc_to_text, "description": "Do sums.\n\n"}, shots=2,
                    chat_template=CHAT if chat else None, fewshot_as_multiturn="system" in sent)  # fmt: skip
    text = sent.format(asked(DOCS[3]))
    write(tmp_path, "m", [sample(0, DOCS[3], text, acc=1.0)], facts=facts)
    rows, ledger = read(tmp_path)
    assert (rows[0]["prompt"], ledger.notes) == (asked(DOCS[3]), [])
    assert read(tmp_path, prompt="whole")[0][0]["prompt"] == text


def test_the_beginning_of_an_answer_is_no_part_of_the_question(tmp_path):
    facts = results("m", config={"gen_prefix": "The sum is"}, shots=1)
    sent = f"{asked(DOCS[1])} 2\n\n{asked(DOCS[3])} The sum is"
    write(tmp_path, "m", [sample(0, DOCS[3], sent, acc=1.0)], facts=facts)
    assert read(tmp_path)[0][0]["prompt"] == asked(DOCS[3])


@pytest.mark.parametrize("doc_to_text", ["Q: {{question}}\nA:", "def doc_to_text(doc):\n    return doc\n"])
def test_a_chat_that_went_to_a_server_is_read_as_messages(tmp_path, doc_to_text):
    turns = [("system", "Do sums."), ("user", asked(DOCS[1])), ("assistant", "2"), ("user", asked(DOCS[2]))]
    chat = json.dumps([{"role": role, "content": text} for role, text in turns])
    facts = results("m", config={"doc_to_text": doc_to_text}, shots=1, chat_template="")
    write(tmp_path, "m", [sample(0, DOCS[2], [chat], acc=1.0)], facts=facts)
    rows, ledger = read(tmp_path)
    assert (rows[0]["prompt"], ledger.notes) == (asked(DOCS[2]), [])


INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[I] {{ m.content }} [/I]{% else %}"
    " {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
TURN = (
    "{{ strftime_now('%d %b') }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    "<turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}</turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
BARE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}B: {{ m.content }}\n{% continue %}{% endif %}"
    "A: {{ m.content }}\n{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "sent"),
    [
        (INST, "<s>[I] {} [/I]"),
        (INST, "<s>[I] one? [/I] 1</s>[I] {} [/I] It is"),
        (TURN, "29 Nov<turn>user\n{}</turn>\n<turn>model\n"),
        (TURN, "29 Nov<turn>user\n{}</turn>\n<turn>model\nIt is"),
        (BARE, "A: {}\n"),
        (BARE, "A: one?\nB: 1\nA: {}\nB: It is"),
    ],
)
def test_templates_of_several_kinds_are_undone(tmp_path, template, sent):
    facts = results("m", config={"doc_to_text": "def doc_to_text(doc):\n    return doc\n"}, chat_template=template)
    write(tmp_path, "m", [sample(0, DOCS[2], sent.format("two?\n\nor not"), acc=1.0)], facts=facts)
    rows, ledger = read(tmp_path)
    assert (rows[0]["prompt"], ledger.notes) == ("two?\n\nor not", [])


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", "{% for", "nothing", "{{ ().__class__.__mro__ }}"])
def test_a_template_that_cannot_be_undone_leaves_the_whole_prompt_and_says_so(tmp_path, template):
    write(tmp_path, "m", [sample(0, DOCS[2], "<u>two?</u>", acc=1.0)], facts=results("m", chat_template=template))
    rows, ledger = read(tmp_path)
    assert rows[0]["prompt"] == "<u>two?</u>"
    assert "of 1 documents of sums the prompt is all that m was sent" in ledger.notes[0]


def test_the_gold_answer_is_not_in_the_prompt_where_choices_stand_in_the_context(tmp_path):
    line = sample(0, {"sentence": "The cup is in the _ now.", "answer": "1"}, "", acc=1.0)
    contexts = ["The cup is in the box", "The cup is in the barn"]
    line["arguments"] = {f"gen_args_{i}": {"arg_0": text, "arg_1": " now."} for i, text in enumerate(contexts)}
    write(tmp_path, "m", [line])
    assert read(tmp_path)[0][0]["prompt"] == "The cup is in the _ now."
    assert read(tmp_path, prompt="whole")[0][0]["prompt"] == "The cup is in the _ now."
    chosen = plain([1.0])
    assert chosen[0]["target"] == "0"
    write(tmp_path, "m", chosen)
    row = read(tmp_path)[0][0]
    assert row["prompt"] == asked(DOCS[0])
    assert "reference" not in row
