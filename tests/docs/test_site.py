"""The site builds strictly, and a reader's browser asks no other host for anything."""

from __future__ import annotations

import html.parser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

FETCHES = {
    ("script", "src"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("link", "href"),
    ("object", "data"),
}


class Fetched(html.parser.HTMLParser):
    """What a browser loads to show a page: everything but the links that a reader follows."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "link" and given.get("rel") in ("canonical", "next", "prev"):  # told, not loaded
            return
        self.addresses += [v or "" for k, v in attributes if (tag, k) in FETCHES]


def fetched(page: Path) -> list[str]:
    parser = Fetched()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.addresses


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=False
    )
    assert built.returncode == 0, built.stderr + built.stdout
    return folder


@pytest.mark.slow
def test_no_page_asks_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) >= len(list((ROOT / "docs").glob("*.md")))
    for page in pages:
        addresses = fetched(page)
        assert addresses, page
        for address in addresses:
            assert not re.match(r"(https?:)?//", address), f"{page.name} loads {address}"
            if not address.startswith("data:"):
                path = address.split("?")[0].split("#")[0]
                at = site / path.lstrip("/") if path.startswith("/") else page.parent / path  # 404.html asks the root
                assert at.exists(), f"{page.name}: {address}"


@pytest.mark.slow
def test_no_style_asks_another_host(site):
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", text), style


@pytest.mark.slow
def test_every_page_is_reached_and_pictures_have_words(site):
    front = (site / "index.html").read_text(encoding="utf-8")
    for page in [*(ROOT / "docs").glob("*.md"), Path("config.md"), Path("config-groups.md")]:
        assert f'href="{page.stem}.html"' in front or page.stem == "index", f"{page.name} is not in the nav"
        text = (site / f"{page.stem}.html").read_text(encoding="utf-8")
        for picture in re.findall(r"<img [^>]*>", text):
            assert re.search(r'alt="[^"]{20,}"', picture), f"{page.name}: {picture} has no words beside it"
    assert not list(site.rglob("*.py"))


def test_what_a_browser_loads_is_told_from_what_it_links_to(tmp_path):
    page = tmp_path / "a.html"
    page.write_text('<a href="https://a"></a><link rel="canonical" href="https://b"><link rel="stylesheet" href="//c">'
                    '<script src="d.js"></script><img src="https://e">')  # fmt: skip
    assert fetched(page) == ["//c", "d.js", "https://e"]
