"""The categories of a table, as the values of a sweep: python categories.py [overrides, as of erp train]."""

from __future__ import annotations

import sys

from erp.config import validate
from erp.errors import ErpError
from erp.jobs import check_sweep
from erp.table.source import load_table


def main(overrides: list[str]) -> str:
    """``'a','b',...`` in Hydra's grammar, those of two prompts or more."""
    config = validate("train", check_sweep("train", overrides)[0])
    counts = load_table(config.data, config.reward_model, config.pool).prompts["category"].value_counts()
    names = sorted(str(name) for name, prompts in counts.items() if prompts > 1)
    if len(names) < 2:
        raise ErpError("data: the table has fewer than two categories; one has to be left out, and others learnt from")
    return ",".join("'" + name.replace("'", "\\'") + "'" for name in names)


if __name__ == "__main__":
    print(main(sys.argv[1:]))
