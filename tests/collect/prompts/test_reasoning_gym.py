import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from erp.collect.pairs import read_reference
from erp.collect.prompts.base import prompt_frame
from erp.collect.prompts.reasoning_gym import ReasoningGym, Task
from erp.collect.rewards.base import Pair
from erp.collect.rewards.verifier import Verifier
from erp.errors import ErpError

pytestmark = pytest.mark.skipif(find_spec("reasoning_gym") is None, reason="reasoning-gym is not there")

SUM = Task(task="chain_sum", settings={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1})
GCD = Task(task="gcd", settings={"max_value": 40})


def frame(tasks, limit, seed=0):
    return prompt_frame(ReasoningGym(tasks, limit, seed).prompts())


# The generators of the last two walk through sets, whose order hangs on the process's hash seed.
TASKS = ["chain_sum", "gcd", "syllogism", "calendar_arithmetic", "isomorphic_strings", "ransom_note"]
SIX = [SUM, GCD, *(Task(task=name) for name in TASKS[2:])]


@pytest.fixture(scope="module")
def twenty():
    """Prompts of six tasks. Every frame takes a process that reads all of reasoning-gym: seconds."""
    return frame(SIX, 20)


def test_tasks_share_the_prompts_and_take_turns(twenty):
    assert twenty["category"].tolist() == TASKS * 3 + TASKS[:2]
    assert twenty["prompt"].is_unique


def test_tasks_of_a_kind_share_a_category_and_keep_their_names_in_what_the_scorer_reads(twenty):
    coarse = frame(
        [SUM.model_copy(update={"category": "arithmetic"}), GCD.model_copy(update={"category": "arithmetic"})], 4
    )
    assert coarse["category"].tolist() == ["arithmetic"] * 4
    assert [json.loads(reference)["task"] for reference in coarse["reference"]] == ["chain_sum", "gcd"] * 2
    assert set(coarse["prompt"]) <= set(twenty["prompt"])


def test_another_seed_gives_other_prompts_and_a_task_that_runs_out_of_questions_says_so(twenty):
    source = ReasoningGym([SUM, GCD], 800, seed=1)
    others = prompt_frame(source.prompts())
    found, asked = (others.loc[others["category"] == name, "prompt"] for name in ("chain_sum", "gcd"))
    assert 0 < len(found) < 400
    assert source.notes == [f"chain_sum has only {len(found)} distinct questions with these settings"]
    assert len(asked) == 400
    gcd = set(twenty.loc[twenty["category"] == "gcd", "prompt"])
    assert len(gcd) == 4
    assert gcd != set(asked[:4])


def test_more_prompts_keep_those_that_were_there(twenty):
    few = frame(SIX, 8)
    assert set(few["prompt_id"]) < set(twenty["prompt_id"])
    both = few.merge(twenty, on="prompt_id")
    assert (both["prompt_x"] == both["prompt_y"]).all()


def test_the_reference_alone_is_enough_to_score(twenty):
    for row in twenty[twenty["category"].isin(TASKS[:4])].itertuples():
        reference = read_reference(json.loads(json.dumps(row.reference)))
        right, wrong = Verifier().score(
            [Pair(row.prompt, reference["answer"], None, reference), Pair(row.prompt, "walrus", None, reference)]
        )
        assert right == 1.0
        assert wrong < 0.1


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


def test_the_same_seed_gives_the_same_prompts_in_another_process(twenty):
    """One with another hash seed."""
    code = (
        "import json, sys\n"
        "from erp.collect.prompts.reasoning_gym import ReasoningGym, Task\n"
        "tasks = [Task(**task) for task in json.load(sys.stdin)]\n"
        "print(json.dumps([p.text for p in ReasoningGym(tasks, 20).prompts()]))"
    )
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment, given = {**os.environ, "PYTHONHASHSEED": seed}, json.dumps([task.model_dump() for task in SIX])
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, input=given.encode(), check=True, capture_output=True
    )
    assert json.loads(said.stdout) == twenty["prompt"].tolist()
