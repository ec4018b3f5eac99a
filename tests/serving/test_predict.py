"""One encoder and more requests than it can read: who is answered, who is told at once, and what is never computed."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from erp.serving import predict
from erp.serving.predict import MOST, Predictor


class Slow:
    """A backbone that takes a time for each prompt, whatever the batch, and notes every batch and when it began."""

    def __init__(self, embed, each_s):
        self._embed, self.each_s = embed, each_s
        self.batches = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, prompts):
        self.batches.append((time.monotonic(), list(prompts)))
        self.go.wait(10)
        time.sleep(self.each_s * len(prompts))
        return self._embed(prompts)


@pytest.fixture
def slow(trained, monkeypatch):
    """``slow(each_s)``: the backbone, and a predictor over it."""
    made = []

    def of(each_s):
        backbone = Slow(trained.backbone.embed, each_s)
        monkeypatch.setattr(trained.backbone, "embed", backbone)
        made.append((Predictor(trained), backbone))
        return made[-1]

    yield of
    for predictor, backbone in made:
        backbone.go.set()
        predictor.close()


async def asked(predictor, prompt, within_s):
    """What becomes of a request, and seconds until that is known."""
    began = time.monotonic()
    try:
        found = "routed" if await predictor.ask(prompt, None, within_s) is not None else "failed"
    except TimeoutError:
        found = "timeout"
    return found, time.monotonic() - began


def waiting(predictor):
    return len(predictor._waiting)


def test_twice_what_an_encoder_can_read_leaves_it_busy_with_what_is_in_time(slow):
    predictor, backbone = slow(0.01)
    within_s, rate, seconds = 0.4, 200, 1.5
    most = due = 0
    dues = {}

    async def load():
        nonlocal most, due
        began, tasks = time.monotonic(), []
        for i in range(int(rate * seconds)):
            due = began + i / rate
            await asyncio.sleep(max(0, due - time.monotonic()))
            dues[f"prompt {i}"] = time.monotonic() + within_s
            tasks.append(asyncio.create_task(asked(predictor, f"prompt {i}", within_s)))
            most = max(most, waiting(predictor))
        return await asyncio.gather(*tasks)

    found = asyncio.run(load())
    read = [text for _, texts in backbone.batches for text in texts]
    routed = [took for what, took in found if what == "routed"]
    assert len(routed) >= 0.8 * len(read)  # next to nothing is computed for nobody
    assert len(read) > 0.3 * len(found)  # and of what it could read, which is half, most is
    assert max(took for _, took in found) < within_s + 0.2
    assert most <= within_s / backbone.each_s
    assert max(map(len, (texts for _, texts in backbone.batches))) > 1
    assert all(began < dues[text] for began, texts in backbone.batches for text in texts)
    told = sorted(took for what, took in found if what == "timeout")
    assert told[len(told) // 2] < within_s / 4  # at once, not after all of the time that there was


def test_while_an_encoder_hangs_nobody_waits_for_it_and_then_it_is_asked_again(slow):
    predictor, backbone = slow(0.0)

    async def hung():
        await asked(predictor, "warm", 1)
        backbone.go.clear()
        first = asyncio.create_task(asked(predictor, "the first", 0.3))
        assert (await first)[0] == "timeout"
        many = await asyncio.gather(*(asked(predictor, f"another {i}", 0.5) for i in range(1000)))
        assert {what for what, _ in many} == {"timeout"}
        assert max(took for _, took in many) < 0.4
        assert waiting(predictor) == 0
        backbone.go.set()
        while (await asked(predictor, "the last", 0.5))[0] != "routed":
            await asyncio.sleep(0.01)

    asyncio.run(hung())
    assert [texts for _, texts in backbone.batches] == [["warm"], ["the first"], ["the last"]]


def test_a_request_goes_before_those_that_have_time(slow, monkeypatch):
    monkeypatch.setattr(predict, "MOST_WAITING", 250)
    predictor, backbone = slow(0.002)

    async def both():
        await asked(predictor, "warm", 1)
        batch = [asyncio.create_task(asked(predictor, f"of a batch {i}", 60)) for i in range(300)]
        await asyncio.sleep(0.02)
        one = await asked(predictor, "a request", 1)
        assert waiting(predictor) > 100
        return one, [what for what, _ in await asyncio.gather(*batch)]

    (what, took), batch = asyncio.run(both())
    assert (what, took < 0.5) == ("routed", True)
    assert batch[-50:] + batch[:50] == ["timeout"] * 50 + ["routed"] * 50  # who waits in vain is told
    assert batch.count("routed") == 250
    sizes = [len(texts) for _, texts in backbone.batches]
    assert 10 < max(sizes) <= MOST
