"""LaTeX, judged by a small reader of its own: what would stop a run of LaTeX, and what the cells then say."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import mathtext

from erp.evaluation.comparison.contenders import TestedRun
from erp.evaluation.comparison.pairs import pair_up
from erp.report.comparisons.latex import contenders_to_latex, latex_text, members_to_latex, pairs_to_latex

# What LaTeX prints for the commands that stand for one letter.
PRINTED = {
    "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">",
    "textbar": "|", "textasciigrave": "`", "ldots": "…", "textsuperscript": "", "{": "{", "}": "}", "$": "$", "&": "&",
    "#": "#", "%": "%", "_": "_",
}  # fmt: skip
HOSTILE = r"a_b & 50% $x$ #1 {y} \input{z} ~^<>|[q]*`--- ²…"


def tokens(text):
    """Commands, and single letters; a comment, which would hide the rest of its line, is refused."""
    found = re.findall(r"\\(?:[A-Za-z]+|.)|[^\\]", text, re.DOTALL)
    assert "".join(found) == text
    assert "%" not in found
    assert "#" not in found
    assert "~" not in found
    return found


def outside_math(found):
    """The tokens outside $...$, each $...$ as one; math that does not close is refused."""
    out, math = [], None
    for token in found:
        if token == "$":
            out += [] if math is None else ["$" + "".join(math) + "$"]
            math = [] if math is None else None
        elif math is not None:
            math.append(token)
        else:
            assert token not in ("_", "^"), "only in math"
            out.append(token)
    assert math is None
    return out


def read(cell):
    """A text cell as LaTeX prints it; groups are no letters, and braces must close."""
    printed, depth = "", 0
    for token in outside_math(tokens(cell)):
        if token in "{}":
            depth += 1 if token == "{" else -1
            assert depth >= 0
        elif token.startswith("\\"):
            printed += PRINTED[token[1:]]
        else:
            printed += token
    assert depth == 0
    return printed


def tables(text):
    """Rows of cells of every tabular; environments must close in order, rows must fit the alignment."""
    open_, found = [], []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        open_.append(name) if kind == "begin" else None
        assert kind == "begin" or open_.pop() == name
    assert open_ == []
    depth = 0
    for token in outside_math(tokens(text)):
        depth += {"{": 1, "}": -1}.get(token, 0)
        assert depth >= 0
    assert depth == 0
    for alignment, body in re.findall(r"\\begin\{tabular\}\{([^\n]*)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
        assert [body.count(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule")] == [1, 1, 1]
        columns = len(re.sub(r"@\{[^}]*\}", "", alignment))
        lines = [line for line in body.splitlines() if line.endswith("\\\\")]
        rows = [re.split(r"(?<!\\) ?& ?", line.removesuffix(" \\\\")) for line in lines]
        head, *rows = rows
        spans = [int(span) - 1 for span in re.findall(r"\\multicolumn\{(\d)\}", lines[0])]
        assert len(head) + sum(spans) == columns
        assert {len(row) for row in rows} == {columns}
        found.append((head, rows))
    return found


def run(name, reward, single, panel=("t_1", "sky&work", ("a", "b"), "FLOPs per prompt")):
    ids = np.array([f"p{i}" for i in range(len(reward))], dtype=object)
    return TestedRun(
        Path(f"runs/{name[:5]}"), panel, name, "minilm", {}, "0", 0, 0, ids, ids, np.zeros((len(ids), 2)), reward,
        np.full(len(ids), 3e11), single,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pairs():
    random = np.random.default_rng(0)
    base = random.normal(size=500)
    noise = random.normal(scale=0.2, size=(4, 500))
    noise -= noise.mean(axis=1, keepdims=True)
    gains = {HOSTILE: 0.3, "near": 0.295, "flat": 0.0, "bad": -0.2}
    runs = [run(name, base + gain + e, base) for (name, gain), e in zip(gains.items(), noise, strict=True)]
    return pair_up([*runs, run("alone", base + 0.1 + noise[0], base, ("u", "v", ("a",), "tokens"))])


@pytest.mark.parametrize("text", [HOSTILE, "", "plain", "[x", "*", "\\\\", "a\nb", "--", "ß λ 漢"])
def test_every_text_is_printed_as_it_is(text):
    assert read(latex_text(text)) == " ".join(text.split()).replace("²", "2")


@pytest.mark.parametrize("letter", "\\{}$&#%_~^<>|[]*`")
def test_no_special_letter_stands_alone(letter):
    escaped = latex_text(letter)
    assert escaped != letter
    assert read(escaped) == letter


def test_contenders_with_their_marks(pairs):
    text = contenders_to_latex(pairs)
    (head, rows), (_, alone) = tables(text)
    assert [read(row[0]) for row in rows] == [HOSTILE.replace("²", "2"), "near", "flat", "bad"]
    assert [read(row[0]) for row in alone] == ["alone"]
    gains, marks = ([row[k] for row in rows] for k in (1, 2))
    assert [gain.startswith("$\\mathbf{") for gain in gains] == [True, True, False, False]
    assert marks == [r"$^{\ast}$", r"$^{\ast}$", "", r"$^{\dagger}$"]
    said = [float(re.sub(r"[^0-9.+-]", "", gain)) for gain in gains]
    frame = pairs.contenders[pairs.contenders["panel"] == 1]
    assert said == pytest.approx(frame["gain"].tolist(), abs=5e-4)
    decimals = {len(gain.strip("$}").split(".")[-1]) for gain in gains}
    assert len(decimals) == 1, "digits of a column stand under each other"
    assert [read(cell) for cell in head if "multicolumn" not in cell][:2] == ["Contender", "Reward"]
    assert "300" in rows[0][[read(cell) if "multi" not in cell else "" for cell in head].index("Cost") + 2]
    assert "trillion FLOPs per prompt" in text
    assert "Bold: the best, and every contender that does not differ significantly from it." in text
    assert r"\caption{Contenders: t\_1, sky\&work, 2 members, cost: trillion FLOPs per prompt.}" in text
    assert len(set(re.findall(r"\\label\{(.*)\}", text))) == 2


def test_differences_and_members(pairs):
    (_, rows), _ = tables(pairs_to_latex(pairs))
    assert len(rows) == 6 + 4
    assert rows[0][1] == "near"
    assert rows[0][-1] == "not significant"
    assert rows[1][-2] == "$<0.001$", "the smallest p of 10,000 draws, however many differences there are"
    frame = pd.DataFrame(
        [
            {"panel": 1, "table": "t", "reward_model": "r", "members": 1, "cost_unit": "tokens", "contender": HOSTILE,
             "member": "x_1", "r2": 0.5, "r2_sd": np.nan, "r2_ceiling": 0.8, "r2_corrected": 0.625,
             "r2_corrected_low": 0.5, "r2_corrected_high": 0.75, "pearson": 0.7, "rmse": 0.2, "share": 0.25,
             "reward": -0.0, "cost": 1234567.0},
        ]
    )  # fmt: skip
    text = members_to_latex(frame)
    ((_, (row,)),) = tables(text)
    assert row[0] == r"x\_1"
    assert row[2] == "--", "no spread of one split"
    assert row[4:6] == ["$0.62$", "[$0.50$, $0.75$]"]
    assert r"25\%" in row
    assert "$0.00$" in row, "no minus before a zero"


def test_all_math_is_math(pairs):
    """As matplotlib reads it, but for the braces around a comma."""
    parser = mathtext.MathTextParser("path")
    found = [token for token in outside_math(tokens(contenders_to_latex(pairs))) if token.startswith("$")]
    assert len(found) > 20
    for token in found:
        parser.parse(token)


def test_nothing_to_show():
    assert contenders_to_latex(pair_up([])) == pairs_to_latex(pair_up([])) == ""
