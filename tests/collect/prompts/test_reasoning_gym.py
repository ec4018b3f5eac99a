import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from erp.collect.prompts.base import prompt_frame
from erp.collect.prompts.reasoning_gym import ReasoningGym, Task
from erp.collect.rewards.base import Pair
from erp.collect.rewards.verifier import Verifier
from erp.collect.score import read_reference
from erp.errors import ErpError

pytestmark = pytest.mark.skipif(find_spec("reasoning_gym") is None, reason="reasoning-gym is not there")

SUM = Task(task="chain_sum", settings={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1})
GCD = Task(task="gcd", settings={"max_value": 40})


def frame(tasks, limit, seed=0):
    return prompt_frame(ReasoningGym(tasks, limit, seed).prompts())


FOUR = [SUM, GCD, Task(task="syllogism"), Task(task="calendar_arithmetic")]


@pytest.fixture(scope="module")
def fourteen():
    """Prompts of four tasks. Every frame takes a process that reads all of reasoning-gym: seconds."""
    return frame(FOUR, 14)


def test_tasks_share_the_prompts_and_take_turns(fourteen):
    tasks = ["chain_sum", "gcd", "syllogism", "calendar_arithmetic"]
    assert fourteen["category"].tolist() == tasks * 3 + tasks[:2]
    assert fourteen["prompt"].is_unique


def test_the_same_seed_gives_the_same_prompts_and_another_gives_others(fourteen):
    assert fourteen.equals(frame(FOUR, 14))
    gcd, others = (set(made.loc[made["category"] == "gcd", "prompt"]) for made in (fourteen, frame([GCD], 4, seed=1)))
    assert len(gcd) == len(others) == 4
    assert gcd != others


def test_more_prompts_keep_those_that_were_there(fourteen):
    few = frame(FOUR, 6)
    assert set(few["prompt_id"]) < set(fourteen["prompt_id"])
    both = few.merge(fourteen, on="prompt_id")
    assert (both["prompt_x"] == both["prompt_y"]).all()


def test_the_reference_alone_is_enough_to_score(fourteen):
    for row in fourteen.itertuples():
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
    """These two tasks' generators walk through sets, whose order hangs on the process's hash seed: here another."""
    code = (
        "import json\n"
        "from erp.collect.prompts.reasoning_gym import ReasoningGym, Task\n"
        "tasks = [Task(task='isomorphic_strings'), Task(task='ransom_note')]\n"
        "print(json.dumps([p.text for p in ReasoningGym(tasks, 6).prompts()]))"
    )
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    said = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True).stdout
    here = ReasoningGym([Task(task="isomorphic_strings"), Task(task="ransom_note")], 6).prompts()
    assert json.loads(said) == [prompt.text for prompt in here]
