"""Calls to a server that fails, many at once, and the key that nobody gets to see."""

import gc
import logging
import math
import os
import signal
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from itertools import pairwise

import pytest

from erp.engines import chat_session, handover
from erp.engines.base import Failure
from erp.engines.chat_answers import retry_after_s
from erp.engines.pace import Pace
from erp.errors import ErpError
from tests.engines.calls import ENV, KEY, NOWHERE, TINY, echo, engine, failing, one, prompt_in, request, sampled
from tests.engines.chat_server import ChatServer, Reply, completion, error


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv(ENV, KEY)
    monkeypatch.setenv("NO_PROXY", "*")


# ---- a server that fails


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_busy_and_broken_servers_are_asked_again(status):
    (response,), server = one(failing(2, error(status, "not now")))
    assert response.text == "hi 5"
    assert server.bodies == [server.bodies[0]] * 3


@pytest.mark.parametrize(
    "reply",
    [
        Reply("<html>Bad gateway</html>"),
        Reply("[]"),
        Reply({"choices": []}),
        Reply({"error": {"message": "provider failed"}}),
        Reply({"choices": [{"message": {"content": 3}}]}),
        Reply(completion("half"), cut=True),
    ],
    ids=["html", "a list", "no choices", "error with status 200", "no text", "dropped in mid-body"],
)
def test_an_answer_that_is_no_completion_is_asked_for_again(reply):
    (response,), server = one(failing(1, reply))
    assert response.text == "hi 5"
    assert len(server.calls) == 2


def test_an_answer_without_an_end_in_sight_is_left(monkeypatch):
    monkeypatch.setattr(chat_session, "LARGEST", 2**20)
    found, server = one(Reply(completion("long " * 2**18)))
    assert isinstance(found, Failure)
    assert "more than 1 MiB" in found.error
    assert not found.final
    assert len(server.calls) == 1
    (response,), _ = one(Reply(completion("long " * 2**17)))
    assert response.text == "long " * 2**17


def test_a_hanging_server_is_left_and_asked_again():
    (response,), server = one(failing(1, Reply(completion("late"), wait_s=5)), timeout_s=0.2)
    assert response.text == "hi 5"
    assert server.calls[1][0] - server.calls[0][0] < 1


def test_every_hanging_call_is_left_and_those_beside_it_are_not():
    asked = []

    def hangs_once(body, number):
        asked.append(prompt_in(body))
        hangs = int(prompt_in(body)) % 2 and asked.count(prompt_in(body)) == 1
        return Reply(echo(body, number), wait_s=30 if hangs else 0.05)  # so that no two are late at the same time

    with ChatServer(hangs_once) as server:
        patient = engine(server, concurrency=3, timeout_s=0.5)
        results = list(sampled(patient, [request(str(i)) for i in range(12)], TINY, 1))
    assert sorted((index, result[0].text) for index, result in results) == [(i, f"{i} 0") for i in range(12)]
    assert [asked.count(str(i)) for i in range(12)] == [1, 2] * 6


def test_retries_end_in_a_failure_with_the_reason():
    failure, server = one(error(503, "loading  the\nmodel"), retries=2)
    assert failure == Failure("503: loading the model (attempt 3, the last)")
    assert len(server.calls) == 3


def test_retry_after_is_waited_for():
    _, server = one(failing(1, error(429, "slow down", retry_after="0.3")))
    assert server.calls[1][0] - server.calls[0][0] >= 0.3


def test_retry_after_may_be_a_date_or_nonsense():
    assert 28 < retry_after_s(formatdate(time.time() + 30, usegmt=True)) <= 30
    assert [retry_after_s(value) for value in ("1.5", "-3", "Mon, 01 Jan 2001 00:00:00 GMT", "soon", "nan", "")] == [
        1.5,
        0,
        0,
        0,
        0,
        0,
    ]


def test_a_server_that_wants_to_be_left_alone_for_longer_than_an_attempt_is_left():
    failure, server = one(error(429, "daily limit", retry_after="3600"))
    assert failure == Failure("429: daily limit; to be asked again in 3600 s, no sooner")
    assert len(server.calls) == 1


def test_a_daily_limit_is_told_to_all_who_wait_at_once():
    """Each would otherwise wait for a minute, as after any refusal, to be told the same."""
    with ChatServer(lambda body, number: error(429, "daily limit", retry_after="7200")) as server:
        answers = list(engine(server, concurrency=2).generate((request(str(i)) for i in range(50)), TINY))
    assert len(answers) == 50
    assert all("to be asked again in 7200 s" in answer.error for _, _, answer in answers)
    assert len(server.calls) <= 2


def test_a_proxy_is_used_and_no_password_of_netrc(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("default login somebody password else")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ChatServer(echo) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        ((_, _, answer),) = engine("http://models.example/v1").generate([request("hi")], TINY)
    assert answer.text == "hi 0"
    assert [(path, headers["authorization"]) for _, path, headers, _ in proxy.calls] == [
        ("http://models.example/v1/chat/completions", f"Bearer {KEY}")
    ]


def test_waits_grow_up_to_the_longest():
    _, server = one(error(500, "no"), retries=3, backoff_s=0.1, backoff_max_s=0.2)
    waits = [after[0] - before[0] for before, after in pairwise(server.calls)]
    for wait, (least, most) in zip(waits, [(0.05, 0.1), (0.1, 0.2), (0.1, 0.2)], strict=True):
        assert least <= wait < most + 0.15


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_prompt_fails_alone_and_at_once(status):
    def refuses(body, number):
        return error(status, "too long") if prompt_in(body) == "1" else echo(body, number)

    with ChatServer(refuses) as server:
        results = dict(sampled(engine(server), [request(str(i)) for i in range(3)], TINY, 2))
    assert results[1] == Failure(f"{status}: too long", final=True)
    assert [r.text for r in results[0] + results[2]] == ["0 0", "0 1", "2 0", "2 1"]


def test_one_sample_that_cannot_be_had_costs_no_other():
    def refuses(body, number):
        return error(422, "unlucky") if body["seed"] == 6 else echo(body, number)

    with ChatServer(refuses) as server:
        came = {
            j: answer for _, j, answer in engine(server).generate([replace(request("hi", 5), samples=(0, 1, 2))], TINY)
        }
    assert came[1] == Failure("422: unlucky", final=True)
    assert [came[j].text for j in (0, 2)] == ["hi 5", "hi 7"]


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, f"engine.api_key_env = {ENV}"),
        (402, "topped up"),
        (403, f"engine.api_key_env = {ENV} may not"),
        (404, "the model's name"),
        (307, "/v1"),
    ],
)
def test_what_every_call_would_be_told_ends_the_run(status, remedy):
    with (
        ChatServer(lambda body, number: error(status, f"no way with {KEY}")) as server,
        pytest.raises(ErpError) as caught,
    ):
        list(sampled(engine(server, concurrency=2), [request(str(i)) for i in range(9)], TINY, 2))
    (line,) = caught.value.faults
    assert line.startswith(f"engine.base_url = {server.url}: answers {status} (no way with ***); ")
    assert remedy in line
    assert len(server.calls) <= 4  # a call may be made before the others hear of it


def test_a_flagged_prompt_is_no_forbidden_key():
    """Some hosts say 403 of a single prompt; once they have answered another, the key is good."""
    with ChatServer(lambda body, n: error(403, "flagged") if prompt_in(body) == "b" else echo(body, n)) as server:
        results = dict(sampled(engine(server, concurrency=1), [request("a"), request("b"), request("c")], TINY, 1))
    assert results[1] == Failure("403: flagged", final=True)
    assert results[2][0].text == "c 0"


def test_an_address_where_nobody_ever_listened_is_told_at_once():
    with socket.socket() as taken:  # bound, not listening
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        gone = engine(address, retries=100, backoff_s=1, backoff_max_s=60)
        start = time.monotonic()
        with pytest.raises(
            ErpError, match=f"engine.base_url = {address}: nobody answers there .no connection: Connection refused"
        ):
            list(sampled(gone, [request(str(i)) for i in range(400)], TINY, 2))
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("https", [False, True], ids=["http", "https"])
def test_what_answers_in_another_language_is_no_server(monkeypatch, https):
    """As an SSH daemon would: a greeting, and it hangs up."""
    monkeypatch.setattr(chat_session, "UNHEARD_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as greeter:

        def greet():
            with suppress(OSError):
                while True:
                    caller, _ = greeter.accept()
                    with caller:
                        caller.sendall(b"SSH-2.0-OpenSSH_9.7\r\n")

        threading.Thread(target=greet, daemon=True).start()
        address = f"http{'s' * https}://127.0.0.1:{greeter.getsockname()[1]}/v1"
        with pytest.raises(ErpError) as caught:
            list(sampled(engine(address), [request("a")], TINY, 1))
        greeter.shutdown(socket.SHUT_RDWR)
    (line,) = caught.value.faults
    said = "nobody answers there (no connection: " if https else f"something else answers there ({address}: "
    assert line.startswith(f"engine.base_url = {address}: {said}")
    assert line.endswith("(does it speak https?)" if https else "the address of a server whose /chat/completions it is")


def test_a_page_for_people_is_no_server(monkeypatch):
    """Waits of an hour: what was never a server of this kind is not waited for; one that had been might come back."""
    page = Reply("<!doctype html><title>Welcome to nginx!</title>")
    monkeypatch.setattr(chat_session, "UNHEARD_S", 0.1)
    with pytest.raises(ErpError) as caught:
        one(page, retries=100, backoff_s=0.2, backoff_max_s=0.4)
    (line,) = caught.value.faults
    assert "something else answers there (200, but no chat completion: <!doctype html>" in line
    assert line.endswith("give the address of a server whose /chat/completions it is")
    with ChatServer(lambda body, n: page if n else echo(body, n)) as server:
        results = dict(sampled(engine(server, concurrency=1), [request("a"), request("b")], TINY, 1))
    assert results[0][0].text == "a 0"
    assert isinstance(results[1], Failure)


def test_why_nothing_comes_is_said_once(monkeypatch, capsys):
    monkeypatch.setattr(chat_session, "QUIET_S", 0.1)
    with ChatServer(failing(9, error(503, "Loading model"))) as server:
        slow = engine(server, retries=9, backoff_s=0.1, backoff_max_s=0.1, concurrency=3)
        list(sampled(slow, [request("a"), request("b"), request("c")], TINY, 1))
        assert capsys.readouterr().err == (
            f"note: engine.base_url = {server.url}: 503: Loading model; it is asked again, and again\n"
        )
        list(sampled(slow, [request("d")], TINY, 1))
    assert capsys.readouterr().err == ""


def test_a_server_that_says_nothing_is_told(monkeypatch, capsys):
    monkeypatch.setattr(chat_session, "SILENT_S", 0.1)
    with ChatServer(lambda body, n: Reply(echo(body, n), wait_s=0.5)) as server:
        slow = engine(server, concurrency=1)
        assert len(list(sampled(slow, [request("a"), request("b")], TINY, 1))) == 2
    assert capsys.readouterr().err == (
        f"note: engine.base_url = {server.url}: no answer in 0.1 s; each is waited for 5 s long\n"
    )


def test_a_server_is_not_blamed_before_it_was_asked(monkeypatch, capsys):
    monkeypatch.setattr(chat_session, "SILENT_S", 0.1)

    def read():
        time.sleep(0.4)  # a disk
        yield request("a")

    with ChatServer(echo) as server:
        assert len(list(engine(server).generate(read(), TINY))) == 1
    assert capsys.readouterr().err == ""


def test_whether_a_server_is_there_is_found_out_in_a_line_and_no_more_time_than_it_takes(monkeypatch, capsys):
    """Waits that double must not end long after nobody would wait any more."""
    monkeypatch.setattr(chat_session, "UNHEARD_S", 0.5)
    monkeypatch.setattr(chat_session, "SILENT_S", 0.1)
    since = time.monotonic()
    with pytest.raises(ErpError, match="nobody answers there"):
        engine(NOWHERE, retries=9, backoff_s=0.4, backoff_max_s=60).ready([TINY])
    assert time.monotonic() - since < 1
    assert capsys.readouterr().err == ""


def test_where_it_points_to_is_said():
    moved = Reply("", 301, {"location": "https://127.0.0.1/v1/chat/completions"})
    with pytest.raises(ErpError, match=r"answers 301 \(https://127\.0\.0\.1/v1/chat/completions\); it points to"):
        one(moved)


def test_a_server_that_goes_away_fails_the_rest_quickly():
    def answer(body, number):
        return Reply(echo(body, number), headers={"connection": "close"}, wait_s=0.02)

    with ChatServer(answer) as server:
        used = engine(server, retries=4, backoff_s=0.1, backoff_max_s=0.1, concurrency=4)
        stream = used.generate([request(str(i)) for i in range(400)], TINY)
        results = [next(stream)]
    start = time.monotonic()
    results += stream
    assert sorted(position for position, _, _ in results) == list(range(400))
    assert isinstance(results[-1][2], Failure)
    assert results[-1][2].error.startswith("no connection: Connection refused")
    assert time.monotonic() - start < 5  # each on its own would wait for 0.2 s at least: 400 / 4 x 0.2 = 20 s


# ---- a server that counts


def test_a_limit_of_requests_is_kept_to_once_it_is_met():
    """100 calls a second are answered. 64 callers who come back together would be refused half of the time."""
    lately, lock, refused = deque(), threading.Lock(), []

    def answer(body, number):
        now = time.monotonic()
        with lock:
            while lately and now - lately[0] > 1:
                lately.popleft()
            if len(lately) >= 100:
                refused.append(now)
                return error(429, "slow down", retry_after="0.2")
            lately.append(now)
        return echo(body, number)

    with ChatServer(answer) as server:
        results = list(engine(server, concurrency=64, retries=50).generate((request(str(i)) for i in range(400)), TINY))
    assert not any(isinstance(answer, Failure) for _, _, answer in results)
    assert len(refused) < 0.2 * 400


def test_what_is_left_is_not_used_up():
    def left(remaining, reset):
        names = ("limit", "remaining", "reset")
        return {
            f"x-ratelimit-{name}-requests": said for name, said in zip(names, ("500", remaining, reset), strict=True)
        }

    now = Pace()
    now.answered(left("400", "12s"))
    assert now.per_second == math.inf
    now.answered(left("50", "1m30s"))
    assert now.per_second == pytest.approx(5)
    now.answered(left("0", "soon"))
    assert now.per_second == pytest.approx(5, abs=0.1)
    now.answered(left("0", "24h"))
    assert now.per_second == pytest.approx(1 / 60)


# ---- many at once


def test_calls_at_once_are_bounded_and_all_results_come():
    def slow(body, number):
        return Reply(echo(body, number), wait_s=0.01)

    with ChatServer(slow) as server:
        results = list(sampled(engine(server, concurrency=4), [request(str(i), i) for i in range(12)], TINY, 3))
    assert server.most_at_once == 4
    assert sorted(index for index, _ in results) == list(range(12))
    assert all([r.text for r in result] == [f"{i} {i + j}" for j in range(3)] for i, result in results)


def test_results_come_as_they_are_finished():
    def first_is_slow(body, number):
        return Reply(echo(body, number), wait_s=0.3 if prompt_in(body) == "0" else 0)

    with ChatServer(first_is_slow) as server:
        order = [index for index, _ in sampled(engine(server), [request(str(i)) for i in range(4)], TINY, 1)]
    assert order[-1] == 0


def test_no_requests_no_calls():
    assert list(sampled(engine(NOWHERE), [], TINY, 2)) == []


def test_a_request_that_waits_for_a_disk_holds_no_answer_up():
    came = threading.Event()

    def read():
        yield request("a")
        yield request("b" if came.wait(3) else "too late")

    texts = []
    with ChatServer(echo) as server:
        for _, _, response in engine(server, concurrency=2).generate(read(), TINY):
            texts.append(response.text)
            came.set()
    assert texts == ["a 0", "b 0"]


def test_requests_are_read_ahead_no_further_than_there_may_be_calls():
    taken, go_on = [], threading.Event()

    def read():
        for i in range(50):
            taken.append(i)
            yield request(str(i))

    def waits(body, number):
        go_on.wait(10)
        return echo(body, number)

    with ChatServer(waits) as server:
        answers = engine(server, concurrency=3).generate(read(), TINY)
        first = threading.Thread(target=next, args=[answers])
        first.start()
        while len(taken) < 6:  # three under way, three ahead
            time.sleep(0.01)
        time.sleep(0.1)
        assert len(taken) == 6
        go_on.set()
        first.join()
        assert len(list(answers)) == 49


def test_answers_are_handed_over_several_at_a_time(monkeypatch):
    monkeypatch.setattr(handover, "HELD_S", 0.5)
    monkeypatch.setattr(handover, "MANY", 1)
    with ChatServer(echo) as server:
        answers = engine(server, concurrency=1).generate([request(str(i)) for i in range(20)], TINY)
        first = next(answers)
        assert len(server.calls) > 10  # by one at a time, the first would be here before the third is asked for
        assert [position for position, _, _ in [first, *answers]] == list(range(20))


def test_answers_of_few_calls_are_not_held(monkeypatch):
    """A process that is killed would lose as many of them as are under way."""
    monkeypatch.setattr(handover, "HELD_S", 60)
    with ChatServer(echo) as server:
        answers = engine(server, concurrency=4).generate([request(str(i)) for i in range(20)], TINY)
        since = time.monotonic()
        next(answers)
        assert time.monotonic() - since < 30
        answers.close()


def test_answers_that_are_held_are_not_lost_at_the_end(monkeypatch):
    monkeypatch.setattr(handover, "HELD_S", 60)
    monkeypatch.setattr(handover, "MANY", 1)

    def all_but_the_last(body, number):
        return Reply(echo(body, number), wait_s=30 if prompt_in(body) == "5" else 0)

    with ChatServer(all_but_the_last) as server:
        used, came = engine(server, concurrency=1, timeout_s=60), []
        caller = threading.Thread(target=lambda: came.extend(used.generate([request(str(i)) for i in range(9)], TINY)))
        caller.start()
        while len(server.calls) < 6:
            time.sleep(0.01)
        assert used.stop()
        caller.join()
    assert [position for position, _, _ in came] == [0, 1, 2, 3, 4]


def no_calls_left():
    return not [thread for thread in threading.enumerate() if thread.name.startswith("calls to")]


@pytest.fixture
def _little_to_collect():
    """What earlier tests left in memory: to search it for cycles takes longer than the test may."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_little_to_collect")
@pytest.mark.parametrize("how", ["close", "forget", "raise"])
def test_leaving_the_results_cancels_what_is_under_way(how):
    def hangs(body, number):
        return Reply(echo(body, number), wait_s=0 if prompt_in(body) == "0" else 30)

    def leave(results):
        assert next(results)[0] == 0
        if how == "close":
            results.close()
        elif how == "raise":
            results.throw(KeyboardInterrupt)

    with ChatServer(hangs) as server:
        start = time.monotonic()
        try:
            leave(sampled(engine(server, concurrency=3, timeout_s=60), [request(str(i)) for i in range(9)], TINY, 1))
        except KeyboardInterrupt:
            assert how == "raise"
        gc.collect()
        assert no_calls_left()
        assert time.monotonic() - start < 2
        assert len(server.calls) <= 4


def test_an_engine_that_is_stopped_gives_what_has_come_and_nothing_more():
    def five(body, number):
        return Reply(echo(body, number), wait_s=0 if int(prompt_in(body)) < 5 else 30)

    with ChatServer(five) as server:
        used = engine(server, concurrency=3, timeout_s=60)
        answers = used.generate([request(str(i)) for i in range(20)], TINY)
        came = [next(answers)]
        while len(server.calls) < 8:
            time.sleep(0.01)
        time.sleep(0.1)  # the last of the five is read
        assert used.stop()
        came += answers
        assert sorted(position for position, _, _ in came) == [0, 1, 2, 3, 4]
        assert no_calls_left()
        assert list(used.generate([request("0")], TINY)) == []
        assert len(server.calls) == 8


@pytest.fixture
def _takes_sigint():
    """A process that a shell put into the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_takes_sigint")
def test_ctrl_c_while_waiting_for_a_result():
    def interrupts(body, number):
        os.kill(os.getpid(), signal.SIGINT)
        return Reply(echo(body, number), wait_s=30)

    with ChatServer(interrupts) as server:
        with pytest.raises(KeyboardInterrupt):
            list(sampled(engine(server, timeout_s=60), [request("a")], TINY, 1))
        assert no_calls_left()


def test_an_engine_goes_on_after_it_was_closed():
    with ChatServer(echo) as server:
        used = engine(server)
        for _ in range(2):
            assert [r.text for _, (r,) in sampled(used, [request("a")], TINY, 1)] == ["a 0"]
            used.close()


# ---- the key


def test_the_key_is_in_no_log_error_or_representation(caplog):
    caplog.set_level(logging.DEBUG)
    leaky = Reply(f"bad key: {KEY}", 400)
    with ChatServer(lambda body, number: leaky if number % 2 else error(500, f"for {KEY}")) as server:
        used = engine(server, retries=0)
        results = list(sampled(used, [request(str(i)) for i in range(6)], TINY, 1))
    assert len(server.calls) == 6
    assert caplog.records
    for text in (caplog.text, str(results), repr(used), str(vars(used)), str(vars(used._api))):
        assert KEY not in text
    assert "***" in str(results)


def test_a_key_that_cannot_be_sent_is_not_quoted(monkeypatch, caplog):
    monkeypatch.setenv(ENV, f"{KEY}\n{KEY}")
    with pytest.raises(ErpError, match=f"engine.api_key_env = {ENV}: .*odd characters") as caught:
        list(sampled(engine(NOWHERE), [request("a")], TINY, 1))
    assert KEY not in str(caught.value) + caplog.text


def test_a_key_with_the_newline_of_its_file_is_sent_without(monkeypatch):
    monkeypatch.setenv(ENV, f"{KEY}\n")
    _, server = one(echo)
    assert server.calls[0][2]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "address", [f"https://user:{KEY}@host/v1", f"https://host/v1?key={KEY}", f"http://[{KEY}/v1", f"https://h:{KEY}/v1"]
)
def test_an_address_with_credentials_is_refused_unquoted(address):
    with pytest.raises(ErpError, match=r"engine\.base_url: ") as caught:
        engine(address)
    assert KEY not in str(caught.value)
