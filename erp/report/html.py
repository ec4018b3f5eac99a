"""The report as one page: the Markdown's text, its figures inside it, and the numbers behind each figure.

The page asks for nothing but itself: figures are data URIs, the style is inside, there is no script, and a content
security policy has the browser refuse whatever a name in a table might try to load.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from string import Template

from markdown_it import MarkdownIt
from markdown_it.token import Token

from erp.report.numbers import NumberTable

MOST_SECTIONS = 5  # more than these, and the page has a table of contents
LONG_CELL = 40  # letters; a longer cell may break into lines, a shorter one, a number with its interval, may not
MOST_SVG_BYTES = 200_000  # a figure of more lines than that is smaller, and quicker to show, as pixels
CSS = Path(__file__).with_name("page.css")
# Its `icon` keeps a browser from asking a server for one.
PAGE = Path(__file__).with_name("page.html")


def render_html(markdown: str, folder: Path, numbers: Mapping[str, Sequence[NumberTable]]) -> str:
    """A report as a page of its own.

    The first paragraph under the title is set as the verdict. An image that stands alone becomes a figure: the SVG
    beside its file where there is one, else the file itself. Raw HTML in the Markdown is shown as text.

    Args:
        markdown: CommonMark with pipe tables.
        folder: where the Markdown's image paths start; nothing outside it is read.
        numbers: tables to unfold under a figure, by the stem of its file.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    headings = _name_headings(tokens)
    title = next((text for tag, _, text in headings if tag == "h1"), "Report")
    _mark_cells(tokens)
    tokens = _with_figures(_with_boxes(tokens), folder, numbers)
    head, rest = _split_head(tokens)
    parts = [
        "<header>\n", parser.renderer.render(head, parser.options, {}), "</header>\n",
        _contents([(name, text) for tag, name, text in headings if tag == "h2"]),
        parser.renderer.render(rest, parser.options, {}),
    ]  # fmt: skip
    style, page = (path.read_text(encoding="utf-8") for path in (CSS, PAGE))
    return Template(page).substitute(title=escape(title), style=style, body="".join(parts))


def _name_headings(tokens: Sequence[Token]) -> list[tuple[str, str, str]]:
    """Give every heading an id of its own; returns their tags, ids and texts."""
    found: list[tuple[str, str, str]] = []
    for token, inline in pairwise(tokens):
        if token.type != "heading_open":
            continue
        text = _plain(inline)
        slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"
        taken = {name for _, name, _ in found}
        unique = next(name for name in (slug, *(f"{slug}-{n}" for n in range(2, len(found) + 3))) if name not in taken)
        token.attrSet("id", unique)
        found.append((token.tag, unique, text))
    return found


def _plain(inline: Token) -> str:
    """The text of an inline token, without its markup."""
    return "".join(" " if child.type == "softbreak" else child.content for child in inline.children or [])


def _mark_cells(tokens: Sequence[Token]) -> None:
    """Say what heads a column and what a row, and align by class, for the style to decide."""
    in_head, first = False, False
    for token, following in pairwise(tokens):
        if token.type in ("thead_open", "tbody_open"):
            in_head = token.type == "thead_open"
        elif token.type == "tr_open":
            first = True
        elif token.type in ("th_open", "td_open"):
            right, long = "right" in str(token.attrs.pop("style", "")), len(following.content) > LONG_CELL
            if classes := [name for name, is_so in (("n", right), ("long", long and not first)) if is_so]:
                token.attrSet("class", " ".join(classes))
            if first or in_head:
                token.tag = "th"
                token.attrSet("scope", "col" if in_head else "row")
        elif token.type in ("th_close", "td_close"):
            token.tag, first = "th" if first or in_head else "td", False


def _with_boxes(tokens: Sequence[Token]) -> list[Token]:
    """Every table inside a box that scrolls by itself, named after the heading it stands under."""
    boxed: list[Token] = []
    heading = "Report"
    for before, token in zip([None, *tokens], tokens, strict=False):
        if before is not None and before.type == "heading_open":
            heading = _plain(token)
        if token.type == "table_open":
            boxed += [_raw(_box(heading)), token]
        elif token.type == "table_close":
            boxed += [token, _raw("</div>\n")]
        else:
            boxed.append(token)
    return boxed


def _box(name: str) -> str:
    """The start of a box that scrolls; with the keyboard too, for which it needs a focus and a name."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="Table: {escape(name)}">\n'


def _raw(html: str) -> Token:
    """HTML of our own making among the tokens; the parser makes no such token while `html` is off."""
    return Token("html_block", "", 0, content=html)


def _with_figures(tokens: Sequence[Token], folder: Path, numbers: Mapping[str, Sequence[NumberTable]]) -> list[Token]:
    """Paragraphs of nothing but images become figures; any other image becomes its caption."""
    done: list[Token] = []
    skip = 0
    for index, token in enumerate(tokens):
        if skip:
            skip -= 1
            continue
        inline = tokens[index + 1] if token.type == "paragraph_open" else None
        if inline is not None and (figures := _figures(inline, folder, numbers)):
            done.append(_raw(figures))
            skip = 2  # the paragraph's text and end
            continue
        if token.children:
            token.children = [_as_text(child) if child.type == "image" else child for child in token.children]
        done.append(token)
    return done


def _as_text(image: Token) -> Token:
    return Token("text", "", 0, content=image.content)


def _figures(inline: Token, folder: Path, numbers: Mapping[str, Sequence[NumberTable]]) -> str:
    """The figures of a paragraph; empty where it holds anything else, or an image that is not in the folder."""
    images = [child for child in inline.children or [] if child.type not in ("softbreak", "hardbreak")]
    pictures = [_picture(folder, str(image.attrs["src"])) for image in images if image.type == "image"]
    if len(pictures) < len(images) or None in pictures:
        return ""
    parts = []
    for image, picture in zip(images, pictures, strict=True):
        caption, stem = escape(_plain(image)), Path(str(image.attrs["src"])).stem
        parts.append(
            f'<figure>\n<img src="{picture}" alt="{caption}">\n<figcaption>{caption}</figcaption>\n</figure>\n'
            + _details(numbers.get(stem, []))
        )
    return "".join(parts)


def _picture(folder: Path, source: str) -> str | None:
    """An image file of the folder as a data URI; None for anything else a source may name."""
    if not source.endswith(".png") or "%" in source:
        return None
    path = (folder / source).resolve()
    if not path.is_relative_to(folder.resolve()):
        return None
    vector = path.with_suffix(".svg")
    if vector.is_file() and vector.stat().st_size <= MOST_SVG_BYTES:
        return f"data:image/svg+xml;base64,{base64.b64encode(vector.read_bytes()).decode()}"
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" if path.is_file() else None


def _details(tables: Sequence[NumberTable]) -> str:
    """Tables that unfold; nothing where there are none."""
    if not tables:
        return ""
    body = "".join(map(_number_table, tables))
    return f"<details>\n<summary>The numbers of this figure</summary>\n{body}</details>\n"


def _number_table(table: NumberTable) -> str:
    caption, header, rows = table
    # A <caption> would be as wide as its table and scroll with it.
    columns = "".join(f'<th scope="col"{_align(i)}>{escape(cell)}</th>' for i, cell in enumerate(header))
    lines = ["".join(_cell(i, cell) for i, cell in enumerate(row)) for row in rows]
    return (
        f'<p class="caption">{escape(caption)}</p>\n{_box(caption)}<table>\n<thead>\n<tr>{columns}</tr>\n</thead>\n'
        "<tbody>\n" + "".join(f"<tr>{line}</tr>\n" for line in lines) + "</tbody>\n</table>\n</div>\n"
    )


def _cell(position: int, text: str) -> str:
    return f'<td class="n">{escape(text)}</td>' if position else f'<th scope="row">{escape(text)}</th>'


def _align(position: int) -> str:
    return ' class="n"' if position else ""


def _split_head(tokens: list[Token]) -> tuple[list[Token], list[Token]]:
    """The title with the paragraphs under it, marked as verdict or facts; and the rest of the page."""
    if not tokens or tokens[0].tag != "h1":
        return [], tokens
    end, leads = 3, 0
    while end < len(tokens) and tokens[end].type == "paragraph_open":
        inline = tokens[end + 1]
        if any(child.type == "code_inline" for child in inline.children or []):
            tokens[end].attrSet("class", "facts")
        elif leads == 0:
            tokens[end].attrSet("class", "lead")
            leads = 1
        end += 3
    return tokens[:end], tokens[end:]


def _contents(sections: Sequence[tuple[str, str]]) -> str:
    """Links to the sections, where there are more than one sees at once."""
    if len(sections) <= MOST_SECTIONS:
        return ""
    links = "".join(f'<li><a href="#{name}">{escape(text)}</a></li>\n' for name, text in sections)
    return f'<nav aria-label="Contents">\n<ol>\n{links}</ol>\n</nav>\n'
