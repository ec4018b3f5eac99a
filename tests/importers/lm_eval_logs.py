"""Logs of lm-evaluation-harness, in the layout that release 0.4.13 was seen to write (`harness/lm_eval_runs.py`)."""

from __future__ import annotations

import hashlib
import json

import pytest

from erp.errors import ErpError
from erp.importers.files import find
from erp.importers.ledger import Ledger
from erp.importers.lm_eval.samples import LmEval

DATE = "2026-11-29T18-35-09.755502"
LATER = "2026-11-30T09-00-00.000001"
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
EXAMPLES = "Do sums.\n\nQ: What is 8 plus 1?\nA: 9\n\nQ: What is 2 plus 1?\nA: 3\n\n"


def doc_hash(doc):
    return hashlib.sha256(json.dumps(doc, indent=2, ensure_ascii=False).encode()).hexdigest()


def sample(doc_id, doc, sent, filter_name="none", **metrics):
    """A line: a generation from one prompt."""
    return {
        "doc_id": doc_id, "doc": doc, "target": doc["answer"],
        "arguments": {"gen_args_0": {"arg_0": sent, "arg_1": {"until": ["\n"]}}},
        "resps": [[f"It is {doc['answer']}"]], "filtered_resps": [doc["answer"]], "filter": filter_name,
        "metrics": list(metrics), "doc_hash": doc_hash(doc), "prompt_hash": doc_hash({"p": str(sent)}),
        "target_hash": doc_hash({"t": doc["answer"]}), **metrics,
    }  # fmt: skip


def results(model, task="sums", higher=None, config=None, shots=0, figures=None, **more):
    """A results_<date>.json."""
    config = {"task": task, "doc_to_text": "Q: {{question}}\nA:", "description": "", "fewshot_delimiter": "\n\n",
              "num_fewshot": shots, **(config or {})}  # fmt: skip
    return {
        "results": {task: {"name": task, "alias": task, "sample_len": 2, **(figures or {"acc,none": 0.5})}},
        "configs": {task: config}, "n-shot": {task: shots}, "higher_is_better": {task: higher or {"acc": True}},
        "lm_eval_version": "0.4.13", "model_name": model, "chat_template": None, "fewshot_as_multiturn": True,
        "tokenizer_bos_token": ["<s>", "1"], "tokenizer_eos_token": ["</s>", "2"], **more,
    }  # fmt: skip


def write(folder, model, samples, task="sums", date=DATE, facts=None):
    """A member's folder, as the tool names it."""
    home = folder / model.replace("/", "__").replace(":", "__")
    home.mkdir(parents=True, exist_ok=True)
    (home / f"samples_{task}_{date}.jsonl").write_text("".join(json.dumps(s) + "\n" for s in samples))
    if facts is not False:
        (home / f"results_{date}.json").write_text(json.dumps(facts or results(model, task)))
    return home


DOCS = [{"question": f"What is {i} plus {i}?", "answer": str(2 * i)} for i in range(4)]


def asked(doc):
    return f"Q: {doc['question']}\nA:"


def plain(scores, filter_name="none", metric="acc"):
    return [sample(i, DOCS[i], asked(DOCS[i]), filter_name, **{metric: score}) for i, score in enumerate(scores)]


def read(folder, **options):
    ledger = Ledger()
    return list(LmEval(**options).rows(find(str(folder), LmEval.patterns), ledger)), ledger


def refused(folder, **options):
    with pytest.raises(ErpError) as caught:
        read(folder, **options)
    return str(caught.value)
