"""Names as other people's logs have them, all the way: import, train, compare, W&B."""

from __future__ import annotations

import numpy as np
import pandas as pd

from erp import cli, import_table, train
from tests.tracking.offline import recorded

NAMES = ["org/model-1.5", "api:gpt=4", "two words", 'it\'s "quoted"', "a|b,c", "😀 {x}"]


def test_names_of_every_kind_survive_from_the_import_to_the_dashboard(tmp_path, capsys):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"prompt": [f"What is {i} times {i % 13}?" for i in range(120)]})
    frame = frame.assign(category=[NAMES[i % 3] for i in range(120)], **{name: random.random(120) for name in NAMES})
    frame.to_csv(tmp_path / "wide.csv", index=False)
    table = import_table("wide", tmp_path / "wide.csv", members=NAMES, out=str(tmp_path / "t")).folder
    words = ["data=table", f"data.path={table}", f"out={tmp_path / 'runs'}", "backbone=hashing", "bootstrap.draws=100",
             "cost=none", "figures=false", "trainer.progress=false"]  # fmt: skip
    result = train(words)
    assert set(result.results["run"]["members"]) == set(NAMES)
    assert set(pd.read_parquet(result.folder / "predictions.parquet")["model"]) == set(NAMES)
    assert set(recorded(result.folder).table("members")["member"]) == set(NAMES)
    capsys.readouterr()
    assert cli.main(["compare", str(result.folder), f"out={tmp_path / 'compared'}", "figures=false"]) == 0
    best = result.results["routing"]["best_single"]["member"]
    assert best in NAMES
    assert "Traceback" not in capsys.readouterr().err
