"""A collection with a real, tiny model, killed at random moments."""

import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from tests.collect.commands import command, samples
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
