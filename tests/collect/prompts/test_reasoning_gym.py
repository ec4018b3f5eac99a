import json
import os
import subprocess
import sys

import pytest

from erp.collect.prompts.base import prompt_frame
from erp.collect.prompts.reasoning_gym import ReasoningGym, Task
from erp.collect.rewards.base import Pair
from erp.collect.rewards.verifier import Verifier
from erp.collect.score import read_reference
from erp.errors import ErpError

pytest.importorskip("reasoning_gym")

SUM = Task(task="chain_sum", settings={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1})
GCD = Task(task="gcd", settings={"max_value": 40})


def frame(tasks, limit, seed=0):
    return prompt_frame(ReasoningGym(tasks, limit, seed).prompts())


def test_tasks_share_the_prompts_and_take_turns():
    prompts = frame([SUM, GCD, Task(task="lcm")], 8)
    assert prompts["category"].tolist() == ["chain_sum", "gcd", "lcm"] * 2 + ["chain_sum", "gcd"]
    assert prompts["prompt"].is_unique


def test_the_same_seed_gives_the_same_prompts_and_another_gives_others():
    assert frame([GCD], 10).equals(frame([GCD], 10))
    assert set(frame([GCD], 10)["prompt"]) != set(frame([GCD], 10, seed=1)["prompt"])


def test_more_prompts_keep_those_that_were_there():
    few, many = frame([SUM, GCD], 6), frame([SUM, GCD], 20)
    assert set(few["prompt_id"]) < set(many["prompt_id"])
    both = few.merge(many, on="prompt_id")
    assert (both["prompt_x"] == both["prompt_y"]).all()


def test_the_reference_alone_is_enough_to_score():
    for row in frame([SUM, GCD, Task(task="syllogism"), Task(task="calendar_arithmetic")], 12).itertuples():
        reference = read_reference(json.loads(json.dumps(row.reference)))
        right, wrong = Verifier().score(
            [Pair(row.prompt, reference["answer"], None, reference), Pair(row.prompt, "walrus", None, reference)]
        )
        assert right == 1.0
        assert wrong < 0.1


def test_a_task_that_runs_out_of_questions_says_so():
    source = ReasoningGym([SUM], 400)
    prompts = list(source.prompts())
    assert 0 < len(prompts) < 400
    assert source.notes == [f"chain_sum has only {len(prompts)} distinct questions with these settings"]


@pytest.mark.parametrize(
    ("tasks", "limit", "said"),
    [
        ([Task(task="chain_sums")], 3, "no such task; did you mean chain_sum"),
        ([Task(task="gcd", settings={"max_valu": 3})], 3, r"prompts\.tasks\.gcd\.settings"),
        ([Task(task="gcd", settings={"max_value": -3})], 3, r"prompts\.tasks\.gcd\.settings"),
        ([GCD, GCD], 3, "each once"),
        ([], 3, "at least one task"),
        ([GCD], 0, r"prompts\.limit = 0"),
    ],
)
def test_bad_input_is_refused_by_name(tasks, limit, said):
    with pytest.raises(ErpError, match=said):
        frame(tasks, limit)


def test_the_same_seed_gives_the_same_prompts_in_another_process():
    """These two tasks' generators walk through sets, whose order hangs on the process's hash seed."""
    code = (
        "from erp.collect.prompts.reasoning_gym import ReasoningGym, Task\n"
        "tasks = [Task(task='isomorphic_strings'), Task(task='ransom_note')]\n"
        "print([p.text for p in ReasoningGym(tasks, 6).prompts()])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
