"""``erp show``: the responses of the cells that were asked for, beside their rewards."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from erp import cli
from tests.collect.commands import command, samples


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("show")
    assert cli.main(command(folder)) == 0
    return folder


@pytest.fixture
def show(table, capsys):
    capsys.readouterr()

    def run(*more):
        code = cli.main(["show", "data=table", f"data.path={table / 'table'}", *more])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_all_of_it_as_json(show, table):
    code, out, _ = show("prompts=100", "samples=null", "output=json")
    assert code == 0
    said = json.loads(out)
    rows = pd.DataFrame(said["responses"]).sort_values(["prompt_id", "model", "sample"]).reset_index(drop=True)
    columns = ["prompt_id", "model", "sample", "response", "reward"]
    pd.testing.assert_frame_equal(rows[columns], samples(table)[columns], check_dtype=False)
    assert said["reward_model"] == "letters"


@pytest.mark.parametrize("end", ["worst", "best"])
def test_cells_by_their_rewards(show, table, end):
    code, out, _ = show(f"{end}=4", "output=json")
    assert code == 0
    said = json.loads(out)
    means = samples(table).groupby(["prompt_id", "model"])["reward"].mean().sort_values(ascending=end == "worst")
    assert [cell["mean"] for cell in said["cells"]] == pytest.approx(means.head(4).tolist())
    shown = {(cell["prompt_id"], cell["model"]) for cell in said["cells"]}
    assert {(row["prompt_id"], row["model"]) for row in said["responses"]} == shown


def test_a_named_prompt_and_member_on_a_terminal(show, table):
    code, out, _ = show("prompt_id=p3", "member=small", "width=3")
    assert code == 0
    row = samples(table).query("prompt_id == 'p3' and model == 'small' and sample == 0").iloc[0]
    first, prompt, cell, response, *_, last = out.splitlines()
    assert first == "p3  (odd)"
    assert prompt == "  dre..."
    assert cell.startswith("  small: mean ")
    assert cell.endswith(" by letters over 3")
    assert response.split() == [
        "#0",
        f"{row['reward']:.4g}",
        str(row["completion_tokens"]),
        "tok",
        f"{row['response'][:3]}...",
    ]
    assert last == "    and 1 more (samples=null shows all)"


def test_the_table_that_ships(capsys):
    assert cli.main(["show", "worst=2", "reward_model.name=yes_logit"]) == 0
    assert "by yes_logit over 8" in capsys.readouterr().out


def test_responses_without_a_text_or_a_reward(table, tmp_path, capsys):
    """Tables by import may lack either; a judge may give no verdict on any response of a cell."""
    root = shutil.copytree(table / "table", tmp_path / "table")
    for part in root.glob("samples/part-small-*"):
        pd.read_parquet(part).assign(response=None).astype({"response": "str"}).to_parquet(part, index=False)
    for part in root.glob("rewards/letters/part-*"):
        pd.read_parquet(part).query("model != 'small'").to_parquet(part, index=False)
    assert cli.main(["show", "data=table", f"data.path={root}", "prompt_id=p3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("  small: no reward by letters")
    assert lines[at + 1].split()[:2] == ["#0", "-"]
    assert lines[at + 1].endswith("(no text)")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["prompt_id=[p1,nobody]"], "prompt_id = nobody: no such prompt in the table; ids look like p0"),
        (["member=nobody"], "member = nobody: no such member in the table; they are org/big, small"),
        (["worst=1", "best=1"], "worst and best are both given"),
        (["reward_model.name=other"], "reward_model.name = other: not in"),
    ],
)
def test_bad_input_is_told_in_a_line(show, given, said):
    code, _, err = show(*given)
    assert code == 2
    assert said in err


def test_a_table_without_responses(tmp_path, capsys):
    file = tmp_path / "long.csv"
    file.write_text("prompt,model,reward\na,m,1\n")
    assert cli.main(["show", "data=table", f"data.path={file}"]) == 2
    assert "only such a one is shown" in capsys.readouterr().err
