"""The members of many runs as Markdown."""

from pathlib import Path

from erp.evaluation.comparison.tables import members_table
from erp.report.comparisons.markdown import members_to_markdown
from tests.contenders import known


def test_pools_and_reward_models_are_panels_of_their_own(results):
    content = [
        (Path("runs/a"), results()),
        (Path("runs/b"), results(members=("tiny-1b", "x/y_z"), rewards=(0.4, 0.5), costs=(1.0, 2.0))),
    ]
    frame = members_table(content, known(content))
    assert frame.groupby("panel")["member"].apply(list).tolist() == [
        ["tiny-1b", "small-7b", "large-70b", "pooled"], ["tiny-1b", "x/y_z", "pooled"],
    ]  # fmt: skip
    text = members_to_markdown(frame)
    assert text.index("## Predictability") < text.index("## Members")
    assert text.count("\n### ") == 2
    assert "| x/y_z " in text
    assert text.count("| pooled ") == 2
    assert "0.410 (0.380 to 0.440)" in text


def test_contenders_past_the_most_are_counted(results):
    content = []
    for i in range(42):
        content.append((Path(f"runs/{i}"), results(router_name=f"r{i}")))
    text = members_to_markdown(members_table(content, known(content)))
    assert "2 more contenders are in members.csv" in text
    assert text.count("As r0 predicts and chooses them") == 1
