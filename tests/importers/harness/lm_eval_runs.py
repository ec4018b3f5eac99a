"""Runs lm-evaluation-harness for real on three tasks of its own making: `python lm_eval_runs.py FOLDER`.

Needs lm-eval, torch, transformers and accelerate; reads nothing from a network. FOLDER/logs is what the tool wrote:
two members, one of them with a chat template; three tasks; reruns. FOLDER/unscored is of a run told to score nothing.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SUMS = """
task: local_sums
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl}}
test_split: test
fewshot_split: test
fewshot_config: {sampler: first_n}
num_fewshot: 2
description: "Answer the sums.\\n\\n"
output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{answer}}"
repeats: 3
generation_kwargs: {until: ["\\n"], do_sample: true, temperature: 1.0, max_gen_toks: 6}
filter_list:
  - name: first-number
    filter: [{function: regex, regex_pattern: "([0-9])"}, {function: take_first}]
  - name: vote
    filter: [{function: regex, regex_pattern: "([0-9])"}, {function: majority_vote}, {function: take_first}]
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
metadata: {version: 1.0}
"""
COLOURS = """
task: local_colours
dataset_path: json
dataset_kwargs: {data_files: {test: colours.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}} It is"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
  - {metric: brier_score, aggregation: brier_score, higher_is_better: false}
metadata: {version: 1.0}
"""
LENGTHS = """
task: local_lengths
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: question
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 6}
process_results: !function lengths.far
metric_list: [{metric: far, aggregation: mean, higher_is_better: false}]
metadata: {version: 1.0}
"""
FAR = """
import numpy as np

def far(doc, results):
    return {"far": np.float32(abs(len(results[0]) - 2))}
"""


def write_tasks(folder: Path) -> None:
    """Documents and tasks."""
    sums = [{"question": f"What is {i} plus {i + 3}?", "answer": str((2 * i + 3) % 10)} for i in range(60)]
    things = [
        f"{kind} {thing}" for thing in ("sky", "sea", "moss", "blood", "leaf") for kind in ("a", "the", "no", "my")
    ]
    colours = [
        {"question": f"Which colour is {what}?", "choices": ["blue", "green", "red"], "answer": at % 3}
        for at, what in enumerate([*things, things[0]])  # one is there twice
    ]
    colours[-1] = colours[0]
    for name, rows in (("sums", sums), ("colours", colours)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, text in (("sums", SUMS), ("colours", COLOURS), ("lengths", LENGTHS)):
        (folder / f"{name}.yaml").write_text(text)
    (folder / "lengths.py").write_text(FAR)


def write_model(folder: Path, seed: int) -> None:
    """A language model of random weights, and a tokenizer of bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={sign: i for i, sign in enumerate([*alphabet, "<eos>"])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>", bos_token="<eos>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=257, n_positions=1024, n_embd=16, n_layer=1, n_head=2, bos_token_id=256, eos_token_id=256
    )
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        weights = model.transformer.wte.weight
        for at, sign in enumerate(alphabet):  # digits often, so that some answers are right
            if sign.isdigit() and sign.isascii():
                weights[at] *= 12
    model.save_pretrained(folder)


def main(folder: Path) -> None:
    """Everything."""
    folder.mkdir(parents=True)
    write_tasks(folder)
    for seed, name in enumerate(("small", "large")):
        write_model(folder / "tiny" / name, seed)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf")}

    def run(model: str, *more: str, logs: str = "logs") -> None:
        subprocess.run(
            [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args",
             f"pretrained=tiny/{model},dtype=float32",
             "--device", "cpu", "--tasks", "local_sums,local_colours,local_lengths", "--include_path", ".",
             "--output_path", logs, "--log_samples", "--limit", "40",
             "--batch_size", "4", *more],
            cwd=folder, env=environment, check=True,
        )  # fmt: skip
        time.sleep(1)

    run("small")
    run("small", "--seed", "7")
    run("large", "--apply_chat_template", "--fewshot_as_multiturn", "true")
    run("small", "--predict_only", logs="unscored")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
