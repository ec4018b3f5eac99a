"""`erp serve`: every fault before the port opens, a trial of the endpoints, and a server that lives on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import yaml

from erp import cli
from erp.config.serve import Log
from erp.serving.log import DecisionLog
from erp.serving.state import State
from tests.docs.pages import ROOT, blocks
from tests.serving.servers import Member, completion, parts, reply
from tests.training.tables import RIDGE, finished_run, routing_data

PROMPT = "prove the triangle theorem"
CHAT = {"model": "erp/auto", "messages": [{"role": "user", "content": PROMPT}]}


@pytest.fixture
def serve(trained, tmp_path, monkeypatch, run_folder):
    """``serve(members or their changes, *arguments, **gateway keys)``: the arguments of `erp serve`, files written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ERP_WEIGHTS", raising=False)
    shutil.copytree(run_folder, "run")

    def arguments(*more, urls="http://127.0.0.1:9/v1", members=None, **keys):
        named = members or [{"name": name, "base_url": urls} for name in trained.members]
        file = Path("conf/gateway/mine.yaml")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump({"members": named, **keys}))
        return ["serve", "--config-dir", "conf", "gateway=mine", "run=run", "port=0", *more]

    return arguments


@pytest.mark.parametrize(
    ("keys", "arguments", "words"),
    [
        ({"members": [{"name": "other", "base_url": "http://x/v1"}]}, (), "gateway.members: synthetic"),
        ({"members": [{"name": "a", "base_url": "http://x/v1"}] * 2}, (), "names a twice"),
        ({"urls": "ftp://x/v1"}, (), "gateway.members.0.base_url = ftp://x/v1: is no address"),
        ({"urls": "http://me:secret@x/v1"}, (), "gateway.members.0.base_url: holds credentials"),
        ({"tokens": ["secret"]}, (), "is no SHA-256"),
        ({"explore": 1.5}, (), "gateway.explore = 1.5"),
        ({"body_mb": float("inf")}, (), "gateway.body_mb = inf"),
        ({"log": {"part_mb": float("inf")}}, (), "gateway.log.part_mb = inf"),
        ({"budget": {"mean_usd": float("inf")}}, (), "gateway.budget.mean_usd = inf"),
        ({"explor": 0.5}, (), "did you mean explore?"),
        ({"budget": {"usd_per_day": 1}}, (), "gateway.budget.usd_per_day = 1: nobody knows what"),
        ({"budget": {"mean_usd": 0.01}}, (), "gateway.budget.mean_usd = 0.01: nobody knows what"),
        ({"state": "missing/folder/state.db", "log": {"folder": "conf/gateway/mine.yaml"}}, (), "gateway.log.folder"),
        ({"judge": {"url": "ftp://x/a"}}, (), "gateway.judge.url = ftp://x/a: is no address"),
        ({"judge": {"url": "http://x/a", "api_key_env": "NO_SUCH_KEY"}}, (), "gateway.judge.api_key_env = NO_SUCH_KEY"),
        ({"judge": {}}, (), "gateway.judge: is asked at one address; give url, or reward_model"),
        ({"judge": {"url": "http://x/a", "within_s": 700}}, (), "gateway.judge.within_s = 700: is longer than"),
        ({"judge": {"url": "http://x/a"}}, (), "nobody would look at its rewards: run = run has policy=lambda; serve"),
        ({}, ("workers=2",), "gateway.state = null"),
        ({}, ("run=nowhere",), "run = nowhere: there is no such folder"),
        ({}, ("lambda=-1",), "lambda = -1"),
        ({}, ("host=256.0.0.1",), "port = 0: 256.0.0.1 cannot be listened on"),
    ],
)  # fmt: skip
def test_a_fault_is_a_line_before_a_port_opens(serve, capsys, keys, arguments, words):
    assert cli.main(serve(*arguments, **keys)) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert "serving" not in said.out
    assert "Traceback" not in said.err
    assert "secret" not in said.err.replace("tokens.0 = secret", "")


def test_a_key_that_is_not_set_is_a_fault(serve, capsys, monkeypatch, trained):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    members = [{"name": name, "base_url": "http://x/v1", "api_key_env": "NO_SUCH_KEY"} for name in trained.members]
    assert cli.main(serve(members=members)) == 2
    assert capsys.readouterr().err.count("NO_SUCH_KEY: is not set") == len(members)


def test_a_trial_asks_every_endpoint_and_names_those_that_fail(serve, capsys, trained):
    scripts = [reply(completion()), reply({"error": {"message": "no such model"}}, 404), parts(b"data: x\n\n")]
    with Member(scripts[0]) as good, Member(scripts[1]) as bad, Member(scripts[2]) as odd:
        urls = [good.url, bad.url, odd.url]
        members = [{"name": n, "base_url": url} for n, url in zip(trained.members, urls, strict=True)]
        assert cli.main(serve("check=true", members=members)) == 2
        said = capsys.readouterr()
        lines = said.out.strip().splitlines()
        assert [line.split()[:2] for line in lines[1:]] == [[n, u] for n, u in zip(trained.members, urls, strict=True)]
        assert ["ok" in lines[1], "failed" in lines[2], "failed" in lines[3]] == [True] * 3
        assert "upstream-model" in lines[1]
        faults = said.err.strip().splitlines()
        assert f"gateway.members.1 = {trained.members[1]}: status 404; see to" in faults[0]
        assert "is no chat completion" in faults[1]
        assert [asked.body["model"] for asked in good.asked] == [trained.members[0]]
        judge = {"url": good.url}
        good.script = reply({**completion(), "reward": 0.7})
        assert cli.main(serve("check=true", urls=good.url, judge=judge)) == 0
        assert "reward 0.7" in capsys.readouterr().out.splitlines()[-1]
        good.script = reply(completion())
        assert cli.main(serve("check=true", urls=good.url, judge=judge)) == 2
        assert f"gateway.judge = {good.url}: what it answers is no" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "keys", "warned"), [
    ((), {}, False), (("host=0.0.0.0",), {}, True), (("host=0.0.0.0",), {"tokens": ["0" * 64]}, False),
])  # fmt: skip
def test_a_gateway_that_is_open_to_all_says_so(serve, capsys, monkeypatch, arguments, keys, warned):
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    assert cli.main(serve(*arguments, **keys)) == 0
    assert ("gateway.tokens names none" in capsys.readouterr().err) == warned


class Process:
    """`erp serve` in a process of its own."""

    def __init__(self, arguments, **environment):
        command = [sys.executable, "-c", "from erp.cli import entry; entry()", *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self.said: list[str] = []
        self._hearing = threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True)
        self._hearing.start()
        first = self.process.stdout.readline()
        assert first.startswith("serving http://127.0.0.1:"), self.said
        self.url = first.split()[1].removesuffix("/v1,")
        self.client = httpx2.Client(base_url=self.url, timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._hearing.join(10)
        self.process.stdout.close()
        self.process.stderr.close()

    def hears(self, words, times=1):
        until = time.monotonic() + 60
        while sum(words in line for line in list(self.said)) < times:
            assert time.monotonic() < until, self.said
            time.sleep(0.05)
        self.said.clear()


def test_a_server_lives_through_a_run_that_cannot_be_loaded_and_takes_the_next(serve, tmp_path, trained):
    with Member(reply(completion())) as member, Process(
        serve(urls=member.url, log={"folder": str(tmp_path / "log")}, state=str(tmp_path / "state.db"))
    ) as server:  # fmt: skip
        assert server.client.get("/healthz").json() == {"status": "ok"}
        assert "erp_log_lines_lost 0.0" in server.client.get("/metrics").text
        assert server.client.post("/v1/chat/completions", json=CHAT).json() == completion()
        shutil.move("run", "away")
        server.process.send_signal(signal.SIGHUP)
        server.hears("the run is not loaded anew: run = run: there is no such folder")
        assert server.client.post("/route", json={"prompt": PROMPT}).json()["path"] == "routed"
        shutil.move("away", "run")
        server.process.send_signal(signal.SIGHUP)
        server.hears("the run is loaded anew")
        assert server.client.post("/v1/chat/completions", json=CHAT).json() == completion()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(20)
        assert not any("Traceback" in line for line in server.said), server.said
    records = [json.loads(line) for file in (tmp_path / "log").iterdir() for line in file.read_text().splitlines()]
    assert [record["answered"] for record in records] == [trained.route([PROMPT])["member"][0]] * 2


def test_the_docs_page_works_as_it_is_printed(serve, tmp_path, monkeypatch, capsys):
    printed = blocks(ROOT / "docs" / "serve.md")
    (gateway,) = (yaml.safe_load(block.code) for block in printed if block.path == "conf/gateway/mine.yaml")
    shell = [
        line.split()
        for block in printed
        if block.kind == "sh"
        for line in block.commands
        if line.startswith("erp serve")
    ]
    names = [node["name"] for node in gateway["members"]]
    data = routing_data(members=2)
    finished_run(replace(data, table=replace(data.table, members=tuple(names))), RIDGE, tmp_path / "runs" / "mine")
    monkeypatch.setenv("LARGE_API_KEY", "sk-large")
    with Member(reply(completion("25"))) as member:
        for node in gateway["members"]:
            node["base_url"] = member.url
        serve()  # for its folder
        Path("conf/gateway/mine.yaml").write_text(yaml.safe_dump(gateway))
        trial, start = ([word.replace("<run>", "mine") for word in line[1:]] for line in shell)
        assert cli.main(trial) == 0
        assert capsys.readouterr().out.count(" ok, ") == 2
        assert [asked.headers.get("authorization") for asked in member.asked].count("Bearer sk-large") == 1
        with Process([*start, "port=0"]) as server:
            (code,) = (block.code for block in printed if block.kind == "python" and block.path is None)
            assert "http://127.0.0.1:8400" in code
            exec(code.replace("http://127.0.0.1:8400", server.url), {})  # what a reader copies
            server.process.terminate()  # and its last line is written
            server.process.wait(20)
        member, said = capsys.readouterr().out.split()
        assert (member in names, said) == (True, "25")
    (record,) = Path("decisions").iterdir()
    assert json.loads(record.read_text())["answered"] == member


def a_usd_each(members):
    """Prices by which the answers of these tests, of 10 tokens, cost 1 USD."""
    prices = dict.fromkeys(("input_usd_per_mtok", "output_usd_per_mtok"), 1e5)
    Path("run/origin.json").write_text(json.dumps({"table": "", "members": dict.fromkeys(members, prices)}))


@pytest.mark.slow
def test_a_server_that_is_killed_tears_no_line_and_knows_its_spend_to_one_request(serve, tmp_path, trained):
    log, moments = tmp_path / "log", random.Random(0)
    keys = {"log": {"folder": str(log)}, "state": str(tmp_path / "state.db"), "budget": {"usd_per_day": 1e9}}
    with Member(reply(completion())) as member:
        arguments = serve(urls=member.url, **keys)
        a_usd_each(trained.members)
        before, after, seen = (0, 0), (0, 0), []
        for _ in range(10):
            with Process(arguments) as server:
                until = time.monotonic() + moments.uniform(0.05, 0.4)
                killing = threading.Timer(until - time.monotonic(), server.process.kill)
                killing.start()
                with contextlib.suppress(httpx2.HTTPError):
                    while True:
                        server.client.post("/v1/chat/completions", json=CHAT)
                killing.join()
                server.process.wait()
            DecisionLog(Log(folder=str(log)))
            lines = [line for part in log.iterdir() for line in part.read_text().splitlines(keepends=True)]
            assert all(line.endswith("\n") and json.loads(line)["status"] == 200 for line in lines)
            state = State(tmp_path / "state.db")
            before, after = after, (len(member.asked), round(state.spent(time.time())[1]))
            state.close()
            asked, spent = (now - then for now, then in zip(after, before, strict=True))
            assert asked - 1 <= spent <= asked
            assert spent - 1 <= len(lines) - sum(seen) <= spent
            seen.append(len(lines) - sum(seen))
    assert after[0] > 50


@pytest.mark.slow
def test_workers_share_pins_spend_counts_and_signals_and_one_that_dies_is_replaced(serve, tmp_path, trained):
    with ExitStack() as stack:
        member = stack.enter_context(Member(reply(completion())))
        keys = {"state": str(tmp_path / "state.db"), "budget": {"usd_per_day": 1e9}}
        arguments = serve("workers=2", urls=member.url, **keys)
        a_usd_each(trained.members)
        server = stack.enter_context(Process(arguments, TMPDIR=str(tmp_path)))
        went_on = {**CHAT, "messages": [*CHAT["messages"], {"role": "assistant", "content": "x"}, *CHAT["messages"]]}

        def paths(count):
            return {
                httpx2.post(f"{server.url}/v1/chat/completions", json=went_on, timeout=60)
                .headers["x-erp-path"] for _ in range(count)
            }  # fmt: skip

        def workers():
            children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
            return {int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}

        assert server.client.post("/v1/chat/completions", json=CHAT).status_code == 200
        assert paths(10) == {"pinned"}
        asked, failed, over = [11], [], threading.Event()

        def keep_asking():
            while not over.is_set():
                try:
                    asked[0] += 1
                    if httpx2.post(f"{server.url}/v1/chat/completions", json=CHAT).status_code != 200:
                        failed.append("status")
                except httpx2.HTTPError as error:
                    failed.append(error)

        asking, before = threading.Thread(target=keep_asking), workers()
        asking.start()
        assert len(before) == 2
        shutil.move("run", "away")
        server.process.send_signal(signal.SIGHUP)
        server.hears("the run is not loaded anew: run = run: there is no such folder", times=2)
        shutil.move("away", "run")
        server.process.send_signal(signal.SIGHUP)
        server.hears("the run is loaded anew", times=2)
        over.set()
        asking.join()
        assert not failed
        assert workers() == before
        assert paths(10) == {"pinned"}
        asked[0] += 10
        for _ in range(10):  # whichever worker is asked
            found = httpx2.get(f"{server.url}/metrics").text
            counted = re.findall(r"^erp_decisions_total{.*} (.*)$", found, re.MULTILINE)
            assert sum(map(float, counted)) == asked[0]
        os.kill(min(before), signal.SIGKILL)
        until = time.monotonic() + 60
        while len(workers()) < 2 or workers() == before:
            assert time.monotonic() < until
            time.sleep(0.1)
        assert paths(1) == {"pinned"}
        assert f"erp_overhead_seconds_count {asked[0] + 1}.0" in httpx2.get(f"{server.url}/metrics").text
        server.process.terminate()
        server.process.wait(30)
        state = State(tmp_path / "state.db")
        assert state.spent(time.time())[1] == asked[0] + 1 == len(member.asked)
        state.close()
        assert not list(tmp_path.glob("erp-metrics-*"))
