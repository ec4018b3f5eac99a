"""Collections killed at random moments: with a real, tiny model, and over a server that errs."""

import hashlib
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from tests.collect.commands import command, samples
from tests.engines.chat_server import ChatServer, Reply, completion, error
from tests.engines.tiny import tiny_llama

MODEL = "[{name: tiny, model: %s, decoding: {max_tokens: 12}}, {name: brief, model: %s, system: Be brief., " \
        "decoding: {max_tokens: 12}}]"  # fmt: skip


def collection(folder, model):
    folder.mkdir()
    arguments = command(folder, prompts=14, members=MODEL % (model, model))
    at = arguments.index("engine=known")
    return [*arguments[:at], "engine=transformers", "engine.batch_size=6", *arguments[at + 1 :], "block=2"]


@pytest.mark.slow
def test_killed_five_times_it_ends_byte_for_byte_as_undisturbed(tmp_path):
    model = tiny_llama(tmp_path / "model")
    whole, broken = collection(tmp_path / "whole", model), collection(tmp_path / "broken", model)
    subprocess.run([sys.executable, "-m", "erp", *whole], check=True)
    chance, parts = random.Random(1), tmp_path / "broken/table/samples"
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-m", "erp", *broken])
        there = len(list(parts.glob("*")))
        while len(list(parts.glob("*"))) == there and process.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "broken/table/manifest.json").exists()
    subprocess.run([sys.executable, "-m", "erp", *broken], check=True)
    pd.testing.assert_frame_equal(samples(tmp_path / "broken"), samples(tmp_path / "whole"))


AT_ONCE = 4


@pytest.mark.slow
@pytest.mark.parametrize(("how", "times"), [(signal.SIGKILL, 100), (signal.SIGINT, 40)])
def test_killed_a_hundred_times_nothing_paid_for_is_lost(tmp_path, monkeypatch, how, times):
    """Sampling and judging by a server of whose answers 3% are errors: at most what was under way is paid twice.

    That is a call for each caller, and an answer that has come and is being written.
    """
    monkeypatch.setenv("NO_PROXY", "*")
    paid, chance = [], random.Random(2)

    def answer(body, number):
        if chance.random() < 0.03:
            return error(500, "a bad moment")
        text, seed = body["messages"][-1]["content"], body.get("seed")
        paid.append((body["model"], text, seed))
        digest = hashlib.sha256(f"{body['model']}|{text}|{seed}".encode()).hexdigest()
        said = f"Score: {1 + int(digest[:6], 16) % 10}" if body["model"] == "judge" else digest[:8]
        return Reply(completion(said), wait_s=0.01 * chance.random())

    def arguments(folder, address):
        folder.mkdir(exist_ok=True)
        of_engine = [f"engine.{key}" for key in (f"base_url={address}", "api_key_env=null", f"concurrency={AT_ONCE}")]
        of_judge = [f"reward_model.{key}" for key in ("model=judge", f"base_url={address}", "api_key_env=null")]
        return command(
            folder, "engine=openai", *of_engine, "engine.backoff_s=0.01", "reward_model=judge", *of_judge,
            f"reward_model.concurrency={AT_ONCE}", "+reward_model.backoff_s=0.01", "k=6", "block=16", prompts=63,
        )  # fmt: skip

    with ChatServer(answer) as server:
        subprocess.run([sys.executable, "-m", "erp", *arguments(tmp_path / "whole", server.url)], check=True)
        needed, kills = len(paid), 0
        paid.clear()
        broken = arguments(tmp_path / "broken", server.url)
        while True:
            process = subprocess.Popen([sys.executable, "-m", "erp", *broken], stderr=subprocess.DEVNULL)
            enough = len(paid) + chance.randint(0, 2 * needed // (times + 20))
            while kills < times and len(paid) <= enough and process.poll() is None:
                time.sleep(0.002)
            if kills < times:
                process.send_signal(how)
            process.wait()
            if process.returncode == 0:
                break
            kills += 1
        assert kills == times
    pd.testing.assert_frame_equal(samples(tmp_path / "broken", "judge"), samples(tmp_path / "whole", "judge"))
    assert len(set(paid)) == needed
    assert len(paid) - needed <= kills * (AT_ONCE + 1)
    assert not list((tmp_path / "broken/table/journal").rglob("*.jsonl"))
