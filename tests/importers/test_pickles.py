"""A pickle is a program: a frame is taken out of it, and nothing is run."""

from __future__ import annotations

import contextlib
import io
import pickle
import pickletools

import numpy as np
import pandas as pd
import pytest

from erp.errors import ErpError
from erp.importers.pickles import unpickled

FRAME = pd.DataFrame(
    {
        "text": pd.Series(["a", "é\n"], dtype=object),
        "number": [0.5, float("nan")],
        "whole": [1, 2],
        "truth": [True, False],
        "mixed": pd.Series([np.float64(0.25), ["x", None]], dtype=object),
    },
    columns=pd.Index(["text", "number", "whole", "truth", "mixed"], dtype=object),
)


class Calls:
    """Pickled, it is a call."""

    def __init__(self, what, *arguments) -> None:
        self.what, self.arguments = what, arguments

    def __reduce__(self):
        return self.what, self.arguments


class Raw:
    """Pickled by hand: a call of a name that need not be there."""

    def __init__(self, module: str, name: str, *arguments: str) -> None:
        texts = b"".join(b"V" + argument.encode() + b"\n" for argument in arguments)
        self.data = b"c" + module.encode() + b"\n" + name.encode() + b"\n(" + texts + b"tR."


def opened(data: bytes) -> pd.DataFrame:
    return unpickled("path = a.pkl", io.BytesIO(data))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("frame", [FRAME, FRAME.iloc[1:, ::2], FRAME.set_axis([7, 9])], ids=["whole", "part", "named"])
def test_a_frame_of_numbers_and_texts_comes_back_from_every_protocol(frame, protocol):
    found = opened(pickle.dumps(frame, protocol=protocol))
    pd.testing.assert_frame_equal(found, frame.astype(object).reset_index(drop=True), check_column_type=False)


def test_frames_of_earlier_releases_name_the_same_things_elsewhere():
    data = pickle.dumps(FRAME[["text", "number"]], protocol=2)
    for now, before in (
        (b"cpandas\nDataFrame\n", b"cpandas.core.frame\nDataFrame\n"),
        (b"cpandas\nIndex\n", b"cpandas.core.indexes.base\nIndex\n"),
        (b"cpandas\nRangeIndex\n", b"cpandas.core.indexes.range\nRangeIndex\n"),
        (b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"),
    ):
        assert now in data
        data = data.replace(now, before)
    assert opened(data)["text"].tolist() == ["a", "é\n"]


MALICIOUS = {
    "a shell": lambda mark: pickle.dumps(Calls(__import__("os").system, f"touch {mark}")),
    "a shell in a frame": lambda mark: pickle.dumps(
        pd.DataFrame({"a": [Calls(__import__("os").system, f"touch {mark}")]})
    ),
    "eval": lambda mark: pickle.dumps(Calls(eval, f"open({str(mark)!r}, 'w')")),
    "exec, protocol 0": lambda mark: Raw("builtins", "exec", f"open({str(mark)!r}, 'w')").data,
    "pandas reads another pickle": lambda mark: pickle.dumps(Calls(pd.read_pickle, str(mark))),
    "pandas evaluates": lambda mark: pickle.dumps(Calls(pd.eval, f"@open({str(mark)!r}, 'w')")),
    "numpy runs a text": lambda mark: Raw("numpy.testing", "rundocs", str(mark)).data,
    "numpy writes a file": lambda mark: pickle.dumps(Calls(np.save, str(mark), [1])),
    "a name with dots": lambda mark: b"\x80\x04\x8c\x05numpy\x94\x8c\x0btesting.sys\x94\x93\x94.",
    "getattr": lambda mark: pickle.dumps(Calls(getattr, FRAME, "to_csv")),
    "a codec": lambda mark: Raw("_codecs", "encode", "x", "rot13").data,
    "a frame writes itself": lambda mark: pickle.dumps(Calls(pd.DataFrame.to_csv, FRAME, str(mark))),
}


@pytest.mark.parametrize("kind", MALICIOUS)
def test_nothing_that_a_pickle_says_is_run(tmp_path, kind):
    mark = tmp_path / "ran"
    data = MALICIOUS[kind](mark)
    list(pickletools.genops(data))  # it is a whole pickle
    with pytest.raises(ErpError, match=r"^path = a\.pkl: is no pickle that can be read safely \(it .*; give "):
        opened(data)
    assert not mark.exists()


def test_the_calls_above_would_have_run(tmp_path):
    mark = tmp_path / "ran"
    pickle.loads(MALICIOUS["a shell in a frame"](mark))
    assert mark.exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pickle.dumps({"a": 1}), "it holds a dict"),
        (pickle.dumps(FRAME.set_axis(pd.Index(["a"] * 5, dtype=object), axis=1)), "columns do not fit"),
        (pickle.dumps(FRAME)[:-40], "truncated|invalid|Ran out|unexpected"),
        (b"prompt,label\na,1\n", "."),
        (b"", "Ran out of input"),
    ],
)  # fmt: skip
def test_what_is_no_frame_is_refused_in_a_line(data, said):
    with pytest.raises(ErpError, match=said):
        opened(data)


@pytest.mark.parametrize("seed", range(100))
def test_flipped_bytes_give_a_frame_or_a_line(seed):
    rng = np.random.default_rng(seed)
    data = bytearray(pickle.dumps(FRAME, protocol=4))
    for at in rng.integers(0, len(data), 3):
        data[at] = rng.integers(256)
    with contextlib.suppress(ErpError):
        assert isinstance(opened(bytes(data)), pd.DataFrame)
