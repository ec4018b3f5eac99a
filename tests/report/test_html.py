import base64
import re
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from erp.evaluation.bins import binned
from erp.report.html import render_html
from erp.report.numbers import NumberTable, figure_numbers
from erp.report.write import write_report
from erp.results import whole

SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    SCRIPT,
    '"><img src=x onerror=alert(2)>',
    "[x](javascript:alert(3))",
    "![x](http://evil.example/x.png)",
    "</style></title><b>&lt;" + "x" * 200,
)
SIZES = {"phone": (390, 844), "desk": (1280, 900)}


class Page(HTMLParser):
    """What the standard library's parser makes of a page: tags with their attributes, and the text inside each tag."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._open = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        for tag in set(self._open):
            self.texts[tag][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Where reports lie; each is drawn once, and only read."""
    return tmp_path_factory.mktemp("written")


@pytest.fixture
def write(results, predictions, bins, written):
    """Writes a report by the name of a case; returns its folder."""

    def make(case="plain", again=0):
        folder, more = written / f"{case}{again}", {}
        if folder.exists():
            return folder
        if case == "hostile":
            case, more = "plain", {"members": HOSTILE, "rewards": (0.1, 0.42, 0.5, 0.55, 0.61),
                                   "costs": (1e-4, 2e-4, 3e-4, 1e-3, 6e-3), "router_name": SCRIPT}  # fmt: skip
        run = results(case, **more)
        write_report(folder, whole(run), predictions(run), bins(run))
        return folder

    return make


def read(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_is_the_markdown_with_its_figures_inside(write):
    folder = write()
    text = (folder / "report.md").read_text(encoding="utf-8")
    page = Page(read(folder))
    assert page.texts["title"] == page.texts["h1"] == [text.splitlines()[0].removeprefix("# ")]
    assert page.texts["h2"] == [line[3:] for line in text.splitlines() if line.startswith("## ")]
    classes = [attributes.get("class") for attributes in page.all("p")]
    assert page.texts["p"][classes.index("lead")] == text.splitlines()[2]
    facts = next(line for line in text.splitlines() if "`" in line)
    assert page.texts["p"][classes.index("facts")] == facts.replace("`", "")
    assert page.texts["code"][-1] == "erp train config=<run folder>/config.yaml\n"
    assert {line[2:] for line in text.splitlines() if line.startswith("- ")} <= set(page.texts["li"])
    assert "**" not in page.texts["main"][0]
    assert "ridge" in page.texts["strong"]
    images, captions = page.all("img"), re.findall(r"!\[(.+)\]", text)
    assert [image["alt"] for image in images] == page.texts["figcaption"] == captions
    assert len(captions) >= 3
    for image, stem in zip(images, re.findall(r"figures/(\w+)\.png", text), strict=True):
        kind, data = image["src"].split(",")
        assert kind == "data:image/svg+xml;base64"
        assert base64.b64decode(data) == (folder / "figures" / f"{stem}.svg").read_bytes()
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")


def test_tables_say_what_heads_a_row_and_a_column(write):
    folder = write()
    page = Page(read(folder))
    text = (folder / "report.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [cell.strip().replace("**", "").replace("\\|", "|") for line in lines for cell in line[1:-1].split(" | ")]
    rules = [cell for cell in cells if re.fullmatch(r":?-+:?", cell) and len(cell) > 1]
    shown = [cell for tag in ("th", "td") for cell in page.texts[tag]]
    assert len(rules) > 8
    assert not set(cells) - set(rules) - set(shown), "no cell is lost"
    for attributes in page.all("th"):
        assert attributes["scope"] in ("row", "col")
    assert {attributes["class"] for attributes in page.all("td")} <= {"n", "n long"}
    regions = [attributes for attributes in page.all("div") if attributes.get("class") == "scroll"]
    assert len(regions) == len(page.all("table"))
    named = {f"Table: {part.splitlines()[0]}" for part in text.split("\n## ")[1:] if "\n| " in part}
    assert named <= {attributes["aria-label"] for attributes in regions}


def test_names_are_text_and_never_markup(write):
    page = Page(read(write("hostile")))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "b", "iframe", "object", "embed", "base", "form"}
    assert page.texts["title"][0].startswith(SCRIPT)
    assert page.texts["h1"][0].startswith(SCRIPT)
    headed = "\n".join(page.texts["th"])
    assert all(name in headed for name in HOSTILE), "the numbers of the figures name them as they are"
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert attributes.get("href", "#").startswith(("#", "data:,"))


@pytest.mark.parametrize("case", ["plain", "many", "hostile"])
def test_one_file_that_refers_to_nothing(case, write):
    text = read(write(case))
    page = Page(text)
    assert page.all("link") == [{"rel": "icon", "href": "data:,"}]
    assert "@import" not in text
    assert "url(" not in text
    harmless = {"lang", "charset", "http-equiv", "content", "name", "rel", "id", "class", "role", "tabindex",
                "aria-label", "alt", "scope"}  # fmt: skip
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert name in harmless or (name in ("src", "href") and value.startswith(("data:", "#"))), (tag, name)
    assert case == "hostile" or not re.findall(r"https?:", text)
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names)) >= 5
    assert len(text) < 1e6


def test_same_results_same_bytes(write):
    first, second = write(), write(again=1)
    assert read(first) == read(second)
    drawn = sorted(path.name for path in (first / "figures").iterdir())
    stems = re.findall(r"\(figures/(\w+)\.png\)", (first / "report.md").read_text(encoding="utf-8"))
    assert drawn == sorted(f"{stem}.{kind}" for stem in stems for kind in ("png", "svg"))
    for name in drawn:
        assert (first / "figures" / name).read_bytes() == (second / "figures" / name).read_bytes(), name


def test_both_kinds_of_a_figure_are_one_drawing(write):
    """A label that is placed in pixels of the PNG has to stand at the same place in the SVG."""
    from PIL import Image

    folder = write() / "figures"
    for stem in ("reward_cost", "route_shares"):
        root = ElementTree.parse(folder / f"{stem}.svg").getroot()
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        with Image.open(folder / f"{stem}.png") as image:
            assert image.width / image.height == pytest.approx(width / height, rel=0.01)
        space = "{http://www.w3.org/2000/svg}"
        # A text is a group "text_i" whose first child is moved to where the text starts.
        moved = [
            re.match(r"translate\(([-\d.]+) ([-\d.]+)\)", child.attrib.get("transform", ""))
            for group in root.iter(f"{space}g")
            if group.attrib.get("id", "").startswith("text_")
            for child in group.iter(f"{space}g")
            if "translate" in child.attrib.get("transform", "")
        ]
        places = [(float(match[1]), float(match[2])) for match in moved if match]
        assert len(places) > 8
        assert all(0 <= x <= width and 0 <= y <= height for x, y in places)


def page_of(markdown, folder, numbers=None):
    return Page(render_html(markdown, folder, numbers or {}))


def test_an_image_is_read_from_the_folder_only(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    folder = tmp_path / "run"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "there.png").write_bytes(b"pixels")
    (folder / "notes.txt").write_bytes(b"text")
    for source in ("../secret.png", secret.as_posix(), secret.as_uri(), "http://a.example/x.png", "notes.txt",
                   "figures/gone.png", "figures/%2e%2e/%2e%2e/secret.png"):  # fmt: skip
        page = page_of(f"# T\n\n![a *caption*]({source})\n", folder)
        assert not page.all("img"), source
        assert "caption" in page.texts["p"][0]
    page = page_of(
        "# T\n\n![one](figures/there.png)\n![two](figures/there.png)\n\nin ![line](figures/there.png)\n", folder
    )
    assert [image["alt"] for image in page.all("img")] == ["one", "two"]
    assert page.all("img")[0]["src"] == "data:image/png;base64," + base64.b64encode(b"pixels").decode()
    assert page.texts["p"] == ["in line"]


def test_a_figure_of_very_many_lines_is_shown_as_pixels(tmp_path):
    (tmp_path / "a.png").write_bytes(b"pixels")
    (tmp_path / "a.svg").write_text("<svg/>")
    assert page_of("![a](a.png)", tmp_path).all("img")[0]["src"].startswith("data:image/svg+xml")
    (tmp_path / "a.svg").write_text("<svg>" + " " * 300_000 + "</svg>")
    assert page_of("![a](a.png)", tmp_path).all("img")[0]["src"].startswith("data:image/png")


def test_numbers_unfold_under_their_figure_and_nowhere_else(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"pixels")
    table = NumberTable("what <they> are", ["x", "y<"], [["p & q", "1"], ["<i>", "<b>2"]])
    page = page_of("![a](a.png)\n\n![b](b.png)\n", tmp_path, {"b": [table, table], "gone": [table], "a": []})
    assert len(page.all("details")) == 1
    assert len(page.all("table")) == 2
    assert page.texts["td"] == ["1", "<b>2"] * 2
    assert page.texts["th"] == ["x", "y<", "p & q", "<i>"] * 2
    assert page.texts["p"] == ["what <they> are"] * 2


def test_only_long_cells_break(tmp_path):
    page = page_of(
        f"| a | b | c |\n| :-- | --: | --- |\n| x | -0.1884 (-0.2239 to -0.1512) | {'y' * 200} |\n", tmp_path
    )
    assert page.all("td") == [{"class": "n"}, {"class": "long"}]
    assert page.all("th") == [{"scope": "col"}, {"class": "n", "scope": "col"}, {"scope": "col"}, {"scope": "row"}]


def test_contents_where_there_are_many_sections(tmp_path):
    few = "# T\n\nverdict\n\n" + "".join(f"## S{i}\n\ntext\n\n" for i in range(5))
    assert not page_of(few, tmp_path).all("nav")
    page = page_of(few + "## S1\n\n### S1\n\n## 模型\n\n## !\n", tmp_path)
    names = [attributes["id"] for tag, attributes in page.tags if tag in ("h1", "h2", "h3")]
    assert names == ["t", "s0", "s1", "s2", "s3", "s4", "s1-2", "s1-3", "section", "section-2"]
    assert [link["href"] for link in page.all("a")] == [f"#{name}" for name in names if name not in ("t", "s1-3")]
    assert page.texts["a"] == page.texts["h2"]


def test_a_page_without_a_title_or_a_verdict(tmp_path):
    assert page_of("", tmp_path).texts["title"] == ["Report"]
    page = page_of("# T\n\n- a list first\n\nthen text\n", tmp_path)
    assert page.texts["title"] == ["T"]
    assert page.all("p") == [{}]
    assert page.texts["header"][0].strip() == "T"


# The numbers of the figures.


def by_row(table):
    return {row[0]: row[1:] for row in table.rows}


def test_numbers_of_the_curve(results, bins):
    run = results()
    marks, router, category, oracle = figure_numbers(whole(run), bins(run))["reward_cost"]
    assert list(marks.header) == ["Row", "Reward", "Cost (USD per thousand prompts)", "Gain", "from", "to"]
    rows = by_row(marks)
    assert rows["oracle"] == ["0.8000", "3.274", "0.1900", "0.1700", "0.2100"]
    assert rows["ridge"] == ["0.6500", "4.092", "0.04000", "0.02000", "0.06000"]
    assert rows["best single (large-70b)"] == ["0.6100", "6.000", "0", "0", "0"]
    assert rows["tiny-1b"][:3] == ["0.4200", "0.2000", "-0.1900"]
    assert len(rows) == 5 + 1 + 2, "references and router, policy, and the members that are not best single"
    assert "(20 of its 60 points)" in router.caption
    assert router.rows[0] == ["0", "4.092", "0.6500", "0.6300", "0.6700"]
    assert len(category.rows) == 8
    assert "points" not in category.caption, "nothing was left out"
    assert category.rows[-1] == ["infinity", "0.2000", "0.4200"]
    assert len(oracle.rows) == 40
    assert oracle.caption == "Curve of the oracle (40 of its 60 points)"
    assert [oracle.rows[i][0] for i in (0, -1)] == ["0", "infinity"]
    assert oracle.rows[0][1:] == ["3.274", "0.8000"]


def test_the_policys_gain_in_the_figure_is_over_best_single(results, bins):
    run = results("cheaper")
    (row,) = [row for row in figure_numbers(whole(run), bins(run))["reward_cost"][0].rows if "policy" in row[0]]
    assert row[0] == "the run's policy, λ = 10 per USD per thousand prompts"
    assert row[3:] == [f"{run['policy']['reward'] - 0.61:.5f}", "-", "-"]


def test_numbers_of_the_shares(results, bins):
    for case in ("plain", "many"):
        run = results(case)
        (table,) = figure_numbers(whole(run), bins(run))["route_shares"]
        shares = np.array([[float(cell.removesuffix("%")) for cell in row[2:]] for row in table.rows])
        assert len(table.rows) == 20
        assert shares.sum(axis=1) == pytest.approx(100, abs=0.05 * shares.shape[1] + 1e-9)
        costs = [run["routing"]["members"][name]["cost"] for name in table.header[2:]]
        assert costs == sorted(costs)
        cheapest = min(run["routing"]["members"], key=lambda name: run["routing"]["members"][name]["cost"])
        assert table.header[2] == cheapest
        assert shares[-1, 0] == 100, "at an infinite lambda"


def test_numbers_without_a_cost_axis(results, bins):
    run = results("free")
    tables = figure_numbers(whole(run), bins(run))
    (marks,) = tables["reward_cost"]
    assert list(marks.header) == ["Row", "Reward", "Gain", "from", "to"]
    (shares,) = tables["route_shares"]
    expected = sorted(run["routing"]["members"].items(), key=lambda item: -item[1]["share"])
    assert shares.rows == [[name, f"{100 * row['share']:.1f}%"] for name, row in expected]


def test_numbers_of_the_predictions_are_means_of_bins(results, predictions, bins):
    run = results()
    frame = predictions(run)
    (table,) = figure_numbers(whole(run), binned(run, frame))["predicted_vs_observed"]
    test = frame[(frame["split"] == "test") & (frame["model"] == "tiny-1b")].dropna(subset="observed")
    lowest = test.sort_values("predicted").head(40)  # 119 prompts in three bins
    rows = [row[1:] for row in table.rows if row[0] == "tiny-1b"]
    assert len(rows) == 3
    error = lowest["observed"].std() / np.sqrt(40)
    for text, value in zip(rows[0], (lowest["predicted"].mean(), lowest["observed"].mean(), error), strict=True):
        assert float(text) == pytest.approx(value, rel=1e-3)
    ordinal = results("ordinal")
    assert set(figure_numbers(whole(ordinal), bins(ordinal))) == {"reward_cost", "route_shares", "variance_shares"}
    shares = figure_numbers(whole(run), binned(run, frame))["variance_shares"][0].rows
    assert shares[0] == ["all prompts", "25.0%", "5.0%", "10.0%", "60.0%"]


def test_numbers_of_oddities(results, predictions, bins):
    alone = results(members=("only",), rewards=(0.5,), costs=(0.1,), router=0.5, category=None, oracle=0.5, half=0.0)
    (marks,) = figure_numbers(whole(alone), bins(alone))["reward_cost"]
    assert [row[0] for row in marks.rows] == [
        "oracle",
        "ridge",
        "the run's policy, λ = 0",
        "best single (only)",
        "random",
    ]
    same = results(router_name="category_mean")
    captions = [table.caption for table in figure_numbers(whole(same), bins(same))["reward_cost"]]
    assert sum("category" in caption for caption in captions) == 1
    missing = results()
    missing["routing"]["oracle"]["gain_vs_best_single"] |= {"low": None, "high": None}
    frame = predictions(missing)
    frame.loc[frame["model"] == "tiny-1b", "observed"] = np.nan
    tables = figure_numbers(whole(missing), binned(missing, frame))
    assert by_row(tables["reward_cost"][0])["oracle"][-2:] == ["-", "-"]
    assert "tiny-1b" not in by_row(tables["predicted_vs_observed"][0])


# In a browser.


@pytest.fixture
def visit(browser):
    """Opens a folder's report; at the end the browser must have had nothing to say and nothing to fetch."""
    contexts, heard = [], []

    def open_page(folder, size="desk", scheme="light"):
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page, address = context.new_page(), (folder / "report.html").as_uri()
        page.on("console", lambda message: message.type in ("error", "warning") and heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda r: r.url == address or r.url.startswith("data:") or heard.append(r.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert heard == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", ["plain", "many", "hostile"])
def test_the_page_in_a_browser(case, size, write, visit):
    folder = write(case)
    page = visit(folder, size)
    inside = "document.documentElement.scrollWidth <= window.innerWidth"
    assert page.evaluate(inside), "the page does not scroll sideways"
    figures = page.evaluate(
        """Array.from(document.images, image => {
            const box = image.getBoundingClientRect();
            return [image.complete && image.naturalWidth > 0 && image.checkVisibility(), box.width, box.height];
        })"""
    )
    assert len(figures) == (folder / "report.md").read_text(encoding="utf-8").count("](figures/")
    for loaded, width, height in figures:
        assert loaded
        assert 380 <= width <= 600, "as wide as the phone, and no poster on a desk"
        assert height > 100
    levels = page.evaluate("Array.from(document.querySelectorAll('h1,h2,h3,h4'), h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    summaries = page.locator("summary")
    assert summaries.count() >= 3
    for index in range(summaries.count()):
        tables = page.locator("details").nth(index).locator("table")
        assert not tables.first.is_visible()
        summaries.nth(index).click()
        assert tables.first.is_visible()
        assert tables.first.locator("tbody tr").count() > 1
    assert page.evaluate(inside), "nor with all numbers unfolded"
    sizes = page.evaluate("Array.from(document.querySelectorAll('p, li, td, th'), e => getComputedStyle(e).fontSize)")
    assert min(float(size.removesuffix("px")) for size in sizes) >= 14


def test_a_wide_table_scrolls_in_its_own_box(write, visit):
    page = visit(write(), "phone")
    box = page.locator("main > .scroll").first
    name = box.locator("tbody th").first
    before = name.bounding_box()["x"]
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    assert box.evaluate("box => { box.scrollLeft = 200; return box.scrollLeft; }") > 50
    assert name.bounding_box()["x"] == pytest.approx(before), "the names stay"


def test_the_page_in_the_dark(write, visit):
    page = visit(write(), "phone", "dark")
    colour = "element => getComputedStyle(element).{}.match(/\\d+/g).slice(0, 3).map(Number)"
    assert max(page.locator("body").evaluate(colour.format("backgroundColor"))) < 60
    assert min(page.locator("body").evaluate(colour.format("color"))) > 180
    assert page.locator("img").first.evaluate(colour.format("backgroundColor")) == [255, 255, 255]


@pytest.mark.parametrize("case", ["plain", "hostile"])
def test_the_page_on_paper(case, write, visit, tmp_path):
    page = visit(write(case))
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 680, "height": 1000})  # A4 less its margins, in CSS pixels
    assert page.evaluate("document.documentElement.scrollWidth") <= 680, "no column is cut off"
    assert not page.locator("details").first.is_visible()
    for box in page.locator("figure").all():
        assert box.bounding_box()["height"] < 1000, "a figure fits its page"


def test_a_very_tall_figure_fits_a_page_of_paper(visit, tmp_path):
    tall = '<svg xmlns="http://www.w3.org/2000/svg" width="374pt" height="3740pt" viewBox="0 0 374 3740"/>'
    (tmp_path / "a.svg").write_text(tall)
    (tmp_path / "report.html").write_text(render_html("# T\n\n![a](a.png)\n", tmp_path, {}), encoding="utf-8")
    page = visit(tmp_path)
    assert page.locator("img").bounding_box()["height"] > 3000
    page.emulate_media(media="print")
    box = page.locator("figure").bounding_box()
    assert box["height"] < 1000
    assert page.locator("img").bounding_box()["width"] < 100, "and keeps its shape"
