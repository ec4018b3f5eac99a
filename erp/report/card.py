"""The card of a router that is shared, as Markdown: what it routes, how to ask it, what it is worth, where it ends."""

from __future__ import annotations

from erp.report.facts import level_of
from erp.report.pages.method import data_page
from erp.report.pages.rows import equal_cost_page, members_page, rows_page
from erp.report.summary import plain_summary
from erp.report.text import coded, escaped
from erp.results import Results
from erp.table.asked import PromptFrom

_USE = """\
## Use

```python
import erp

router = erp.load("<this folder>")
print(router.route(["How many primes are there below 100?"]))
```

On the command line `erp route run=<this folder>`, which reads a prompt a line. No code of the folder is run.

From a hub's repository it is loaded by the commit, all 40 digits of it:
`erp.load("hf://<owner>/<name>", revision="<commit>")`, and `erp route run=hf://<owner>/<name>@<commit>`."""
_HEAD = """\
---
library_name: erp
tags:
- llm-routing
- expected-reward-prediction
---"""
_ASKS = {"last_user": "the last user turn", "first_user": "the first user turn", "conversation": "every turn"}


def router_card(results: Results, reads_category: bool, prompt_from: PromptFrom) -> str:
    """The ``README.md`` beside an exported router.

    Args:
        results: of the run.
        reads_category: whether the router needs a prompt's category.
        prompt_from: what is asked of a conversation.
    """
    run = results.run
    decided = results.routing is not None  # None: no prompt has a reward of every member
    told = "the reward" if run.scale == "reward" else "a score in the order of the reward"
    parts = [
        _HEAD,
        f"# {escaped(run.router)} on {escaped(run.table)}",
        f"From the prompt alone this router predicts {told} that each member's answer would earn from the reward model "
        f"{coded(run.reward_model)}, and its policy {coded(run.policy)} chooses a member "
        "([expected reward prediction](https://arxiv.org/abs/2603.20217)).",
        f"Router {coded(run.router)}, backbone {coded(run.backbone)}. Members, in the order of its predictions:",
        "\n".join(f"{i}. {coded(name)}" for i, name in enumerate(run.members, 1)),
        _USE,
        "## Verdict",
        *map(escaped, plain_summary(results).splitlines()),
        *([*equal_cost_page(results), *rows_page(results), *members_page(results)] if decided else []),
        "## Limits",
        "\n".join(f"- {line}" for line in _limits(results, reads_category, prompt_from)),
        *data_page(results),
    ]
    return "\n\n".join(parts) + "\n"


def _limits(results: Results, reads_category: bool, prompt_from: PromptFrom) -> list[str]:
    run, data = results.run, results.data
    lines = [
        f"Its numbers are of {data.test:,} test prompts of {escaped(run.table)}, and their {level_of(results)} "
        "intervals of prompts like these. Of other prompts nothing is known.",
        f"A reward is what {coded(run.reward_model)} gave. A member that has changed since, under the same name, is "
        "another one.",
        f"Of a conversation it reads {_ASKS[prompt_from]}.",
        "The tensors are what was learnt, and may tell of train prompts: k nearest neighbours keep their vectors and "
        "rewards, tf-idf their words. A pretrained backbone's own weights are not in the folder.",
    ]
    category = "It reads each prompt's category; one that was not in its train prompts counts as unknown."
    made = ", ".join(f"{escaped(name)} {escaped(version)}" for name, version in run.versions.items())
    return [*lines, *([category] if reads_category else []), f"Made with {made}."]
