"""The page at `/` in a browser: the router's predictions, and the winner at every lambda."""

from __future__ import annotations

import hashlib
import math

import httpx2
import pytest

from tests.serving.conftest import app_of
from tests.serving.servers import Served

PROMPT = "prove the triangle theorem <b>&amp;"


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_a_prompt_is_tried_and_the_winner_moves_with_lambda(browser, gateway, trained, width, scheme):
    token = hashlib.sha256(b"secret").hexdigest()
    with Served(app_of(gateway(tokens=[token]))) as served:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page, heard = context.new_page(), []
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda r: r.url.startswith((served.url, "data:")) or heard.append(r.url))
        page.goto(served.url)
        page.fill("#prompt", PROMPT)
        page.click("#form button")
        page.wait_for_selector("#said:has-text('token')")
        page.fill("#token", "secret")
        page.click("#form button")
        page.wait_for_selector("#members tr.first")
        assert page.inner_text("#said") == f"{trained.route([PROMPT])['member'][0]} answers (routed)"
        scores = trained.scores([PROMPT]).iloc[0]
        shown = [
            [cell.inner_text() for cell in line.query_selector_all("td")]
            for line in page.query_selector_all("#members tr")
        ]
        assert [line[0] for line in shown] == list(trained.members)
        assert [float(line[1]) for line in shown] == pytest.approx(scores.tolist(), rel=1e-3, abs=1e-3)
        winners = set()
        for step in range(0, 1001, 50):
            page.evaluate("step => { at('lambda').value = step; at('lambda').dispatchEvent(new Event('input')) }", step)
            price = page.evaluate("most * at('lambda').value / 1000")
            winner = page.inner_text("#members tr.first td")
            assert winner == trained.route([PROMPT], price)["member"][0], price
            winners.add(winner)
        assert trained.route([PROMPT], math.inf)["member"][0] in winners
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert [line.inner_text().split()[0] for line in page.query_selector_all("#shares tr")] == list(trained.members)
        assert not heard
        context.close()


def test_it_can_be_turned_off_and_names_no_member(gateway, trained):
    with Served(app_of(gateway(page=False))) as served:
        assert httpx2.get(served.url).status_code == 404
    with Served(app_of(gateway(tokens=["0" * 64]))) as served:
        answer = httpx2.get(served.url)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "script-src 'sha256-" in answer.headers["content-security-policy"]
        assert not any(name in answer.text for name in trained.members)
        assert httpx2.get(f"{served.url}/recent").status_code == 401
