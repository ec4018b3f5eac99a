"""What is said of a folder that is not opened."""

import pytest

from erp.errors import ErpError
from erp.trained.router import load


def fault(folder, **options):
    """The one line."""
    with pytest.raises(ErpError) as caught:
        load(folder, **options)
    (line,) = caught.value.faults
    assert "\n" not in line
    assert len(line) < 500
    return line
