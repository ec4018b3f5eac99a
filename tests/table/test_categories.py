"""Categories as numbers."""

import numpy as np

from erp.table.categories import category_codes


def test_category_codes():
    assert category_codes(["b", "a", None, "z", "b"], ("a", "b")).tolist() == [1, 0, -1, -1, 1]
    assert category_codes([None, "None"], ()).tolist() == [-1, -1]
    assert category_codes([], ("a",)).dtype == np.int64


def test_no_category_is_not_the_category_called_none():
    assert category_codes([None, "None", float("nan")], ("None", "nan")).tolist() == [-1, 0, -1]
