"""Runs lm-evaluation-harness for real on three tasks of its own making: `python lm_eval_runs.py FOLDER`.

Needs lm-eval, torch, transformers and accelerate; reads nothing from a network. FOLDER/logs is what the tool wrote:
three members, of plain prompts, of a chat template and behind a server of chats; three tasks; reruns. FOLDER/unscored
is of a run told to score nothing, FOLDER/shots of two members with another number of examples.
"""

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


class Sevens(BaseHTTPRequestHandler):
    """A server of chats that always says 7."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        choice = {"index": 0, "message": {"role": "assistant", "content": "7"}, "finish_reason": "stop"}
        said = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main(folder: Path) -> None:
    """Everything."""
    folder.mkdir(parents=True)
    write_tasks(folder)
    for seed, name in enumerate(("small", "large")):
        write_model(folder / "tiny" / name, seed)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf"),
                   "OPENAI_API_KEY": "none"}  # fmt: skip

    def run(kind: str, arguments: str, tasks: str, *more: str, logs: str = "logs") -> None:
        subprocess.run(
            [sys.executable, "-m", "lm_eval", "run", "--model", kind, "--model_args", arguments, "--tasks", tasks,
             "--include_path", ".", "--output_path", logs, "--log_samples", "--limit", "40", *more],
            cwd=folder, env=environment, check=True,
        )  # fmt: skip
        time.sleep(1)

    def run_tiny(name: str, *more: str, logs: str = "logs") -> None:
        tasks, cpu = "local_sums,local_colours,local_lengths", ("--device", "cpu", "--batch_size", "4")
        run("hf", f"pretrained=tiny/{name},dtype=float32", tasks, *cpu, *more, logs=logs)

    chat = ("--apply_chat_template", "--fewshot_as_multiturn", "true")
    run_tiny("small")
    run_tiny("small", "--seed", "7")
    run_tiny("large", *chat)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sevens)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
    served = f"model=served/sevens,base_url={address},tokenizer_backend=None"
    run("local-chat-completions", served, "local_sums,local_lengths", *chat)
    server.shutdown()
    run_tiny("small", "--predict_only", logs="unscored")
    run_tiny("small", "--num_fewshot", "1", logs="shots")
    run_tiny("large", logs="shots")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
