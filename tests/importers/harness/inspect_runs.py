"""Runs Inspect for real with its mock model: `python inspect_runs.py FOLDER`.

Needs inspect-ai; reads nothing from a network. FOLDER/logs is what the tool wrote: three models x two tasks x four
epochs; FOLDER/json one of them written as json; FOLDER/cancelled a log cut short; FOLDER/failed one with an error;
FOLDER/old the logs as earlier releases packed them (deflate), FOLDER/chunked in the chunked layout;
FOLDER/figures.json the means that the tool computed.
"""

import json
import os
import sys
import zipfile
from pathlib import Path

os.environ["INSPECT_DISPLAY"] = "none"
os.environ["INSPECT_LOG_LEVEL"] = "error"

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import read_eval_log, write_eval_log
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, Target, accuracy, match, mean, scorer
from inspect_ai.solver import TaskState, generate, system_message

LONG = "Count the words. " + "word " * 2000  # longer than what summaries keep


def model(name: str, right: int):
    """Answers the last word of a prompt rightly in `right` of every four calls."""
    calls = iter(range(10_000))

    def answer(messages, tools, choice, config):
        call = next(calls)
        words = messages[-1].text.split()
        output = ModelOutput.from_content(name, f"{words[-1] if call % 4 < right else 'no'}")
        output.usage = ModelUsage(
            input_tokens=10, output_tokens=3, total_tokens=20, input_tokens_cache_read=5, input_tokens_cache_write=2
        )
        return output

    return get_model(f"mockllm/{name}", custom_outputs=answer)


@scorer(metrics={"short": [mean()], "kind": [mean()]})
def manners():
    """A score of two parts; nobody scores what the third sample says."""

    async def score(state: TaskState, target: Target):
        if state.sample_id == 3:
            return Score.unscored(reason="grader_failed", explanation="the grader said nothing")
        return Score(value={"short": len(state.output.completion) / 10, "kind": 1})

    return score


@scorer(metrics=[accuracy()])
def letters():
    """C, I, P and N by sample."""

    async def score(state: TaskState, target: Target):
        return Score(value="CIPN"[(int(state.sample_id) - 1) % 4])

    return score


def echo() -> Task:
    """Forty samples, three scorers."""
    return Task(
        dataset=[Sample(id=i, input=f"Say the word w{i}", target=f"w{i}") for i in range(1, 41)],
        solver=[system_message("Be brief."), generate()], scorer=[match(), manners(), letters()], name="echo",
    )  # fmt: skip


def talk() -> Task:
    """Chats, one of them long."""
    chat = [ChatMessageSystem(content="You count."), ChatMessageUser(content=LONG + " end")]
    return Task(
        dataset=[Sample(id="long", input=chat, target="end"),
                 Sample(id="a/b", input="Which is first: a or b", target="b", choices=["a", "b"])],
        solver=[generate()], scorer=match(), name="talk",
    )  # fmt: skip


def failing() -> Task:
    """One sample of which goes wrong."""

    async def broken(state, generate):
        if state.sample_id == 2:
            raise RuntimeError("the sandbox broke")
        return await generate(state)

    from inspect_ai.solver import solver

    @solver
    def breaks():
        return broken

    return Task(
        dataset=[Sample(id=i, input=f"Say the word w{i}", target=f"w{i}") for i in range(1, 5)],
        solver=breaks(), scorer=match(), name="failing",
    )  # fmt: skip


def main(folder: Path) -> None:
    """Everything."""
    folder.mkdir(parents=True)
    figures = {}
    logs = eval([echo(), talk()], model=[model("small", 1), model("middle", 2), model("large:v1", 3)], epochs=4,
                log_dir=str(folder / "logs"), max_connections=1, max_samples=1, log_format="eval", display="none",
                model_roles={"grader": model("judge", 4)})  # fmt: skip
    for log in logs:
        for found in log.results.scores:
            figures[f"{log.eval.model}|{log.eval.task}|{found.name}"] = {
                name: metric.value for name, metric in found.metrics.items()
            }
    (folder / "figures.json").write_text(json.dumps(figures))
    eval(talk(), model=model("small", 1), epochs=4, log_dir=str(folder / "json"), max_connections=1, max_samples=1,
         log_format="json", display="none")  # fmt: skip
    eval(failing(), model=model("small", 4), log_dir=str(folder / "failed"), fail_on_error=False, display="none")
    eval(failing(), model=model("small", 4), log_dir=str(folder / "stopped"), display="none", max_samples=1)
    done = read_eval_log(logs[0].location)
    done.status, done.results = "cancelled", None
    done.samples = done.samples[:5]
    (folder / "cancelled").mkdir()
    write_eval_log(done, str(folder / "cancelled" / "cut.eval"))
    old(folder)


def old(folder: Path) -> None:
    """The same logs as earlier releases packed them, and in the chunked layout."""
    from inspect_ai.log._recorders.chunked import convert_eval_logs_to_chunked

    (folder / "old").mkdir()
    for log in sorted((folder / "logs").glob("*.eval")):
        with (
            zipfile.ZipFile(log) as packed,
            zipfile.ZipFile(folder / "old" / log.name, "w", zipfile.ZIP_DEFLATED) as out,
        ):
            for name in packed.namelist():
                out.writestr(name, packed.read(name))
    convert_eval_logs_to_chunked(str(folder / "logs"), output_dir=str(folder / "chunked"))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
