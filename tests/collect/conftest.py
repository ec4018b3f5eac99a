"""What the tests of collecting share."""

from __future__ import annotations

import pytest

from erp import cli
from tests.collect.commands import command


@pytest.fixture
def collect(tmp_path, capsys):
    """`collect(*overrides)`: the small collection in this process; (exit code, stdout, stderr)."""

    def run(*more, **options):
        code = cli.main(command(tmp_path, *more, **options))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
