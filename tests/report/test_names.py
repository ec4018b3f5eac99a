"""Names from a table or a config mean themselves in every output, whatever they hold."""

import io

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from erp.errors import visible
from erp.files import as_csv
from erp.report.comparisons.latex import latex_text
from erp.report.html import render_html
from erp.report.markdown import render
from erp.report.text import coded, escaped, table
from erp.results import whole

NAMES = [
    "a`\n\n# Forged\n\n[live](http://evil.example) `", "``b`` <a href='http://evil.example'>x</a>", "`", "```\ncode",
    "# x",
    "> y", "- z", "+ z", "1. one", "2) two", "---", "===", "a|b", "![i](x.png)", "<http://evil.example>", "&lt;b&gt;",
    "*s* _t_ ~~u~~", "\x1b[31mred\x1b[0m", "back\\", "a\u2028b\u202ec",
]  # fmt: skip
HOLDERS = {
    "escaped": escaped, "item": lambda name: f"- {escaped(name)}", "coded": coded,
    "heading": lambda name: f"## x {escaped(name)}",
    "within": lambda name: f"Router {coded(name)}, model {coded(name)}.",
    "cell": lambda name: table(["x", "y"], [[escaped(name), "1"]]),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_name_brings_no_markdown_of_its_own(name, holder):
    """An independent parser: the tokens of a name are those of a plain word, and its text is there."""
    parse = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse
    found, plain = parse(HOLDERS[holder](name)), parse(HOLDERS[holder]("word"))
    assert [token.type for token in found] == [token.type for token in plain]
    inner = [[child.type for child in token.children or []] for token in found]
    kinds = {kind for kinds in inner for kind in kinds}
    assert kinds <= {"text", "text_special", "code_inline"}
    shown = "".join(child.content for token in found for child in token.children or [])
    assert " ".join(visible(name).split()) in " ".join(shown.split())


@pytest.mark.parametrize("name", NAMES)
def test_a_report_is_not_forged(results, name, tmp_path):
    forged = results()
    plain = render_html(render(whole(forged), []), tmp_path, {})
    for key in ("router", "backbone", "reward_model", "table", "name"):
        forged["run"][key] = name
    page = render_html(render(whole(forged), []), tmp_path, {})
    for tag in ("<h1", "<h2", "<a ", "<table", "<li", "<img", "<p"):
        assert page.count(tag) == plain.count(tag), tag
    assert "\x1b" not in page


def test_no_cell_of_a_csv_is_a_formula_and_numbers_stay_numbers():
    names = ["=1+1", "+cmd", "-x", "@sum", "\t=1", "\r=1", " =1", "plain", "-0.5", None]
    frame = pd.DataFrame({"name": names, "gain": -np.arange(10.0) / 4, "runs": -np.arange(10)})
    found = pd.read_csv(io.StringIO(as_csv(frame)), dtype={"name": str})
    assert list(found["gain"]) == list(frame["gain"])
    assert list(found["runs"]) == list(frame["runs"])
    assert [name[0] for name in found["name"][:7]] == ["'"] * 7
    assert list(found["name"][7:9]) == ["plain", "-0.5"]
    assert found["name"].isna()[9]


def test_a_name_in_latex_is_one_line_without_control_codes():
    assert latex_text("a\x1b[0m\n\\input{x} 50% $y$ #_&") == (
        "a\ufffd{[}0m \\textbackslash{}input\\{x\\} 50\\% \\$y\\$ \\#\\_\\&"
    )
