"""The embedding cache: what is embedded, what is found, and what a killed or rival process leaves."""

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from erp.backbones.base import Backbone, normalised
from erp.backbones.cache import cached_embeddings, embed_prompts
from erp.backbones.hashing import HashingBackbone
from erp.backbones.store import ENTRY_BYTES
from erp.errors import ErpError

PROMPTS = ["red fox", "blue whale", "red fox jumps", "green tea"]
DIMENSIONS = 32
CHUNK = 200


class Counting(HashingBackbone):
    """A backbone that remembers what it was asked to embed."""

    at_once = CHUNK

    def __init__(self, dimensions=DIMENSIONS):
        super().__init__(dimensions)
        self.seen = []

    def kind(self):
        return "erp.backbones.hashing.HashingBackbone"  # and shares its cache

    def embed(self, prompts):
        self.seen.append(list(prompts))
        return super().embed(prompts)

    @property
    def embedded(self):
        return [prompt for call in self.seen for prompt in call]


class Constant(Backbone):
    """Every prompt gets the same vector."""

    def __init__(self, vector):
        self.vector = np.array(vector, dtype=np.float32)

    def fingerprint(self):
        return "constant"

    def embed(self, prompts):
        return np.tile(self.vector, (len(prompts), 1))


def ask(prompts, cache, backbone=None):
    """All embeddings of the prompts, in order."""
    embeddings = cached_embeddings(prompts, backbone or HashingBackbone(DIMENSIONS), cache, progress=False)
    assert len(embeddings) == len(prompts)
    return embeddings.take(np.arange(len(prompts)))


def expected(prompts):
    return embed_prompts(prompts, HashingBackbone(DIMENSIONS))


def only_folder(cache):
    (folder,) = (path for path in (cache / "embeddings").iterdir() if path.is_dir())
    return folder


def test_only_new_prompts_are_embedded(tmp_path):
    backbone = Counting()
    ask(PROMPTS[:2], tmp_path, backbone)
    ask(PROMPTS, tmp_path, backbone)
    ask(PROMPTS[::-1], tmp_path, backbone)
    assert sorted(backbone.seen[0]) == sorted(PROMPTS[:2])
    assert sorted(backbone.seen[1]) == sorted(PROMPTS[2:])
    assert len(backbone.seen) == 2


def test_a_finished_cache_asks_the_backbone_for_nothing_in_a_new_process_too(tmp_path):
    ask(PROMPTS, tmp_path)
    fresh = Counting()
    assert np.array_equal(ask(PROMPTS, tmp_path, fresh), expected(PROMPTS))
    assert fresh.seen == []


def test_order_and_duplicates_are_the_caller_s(tmp_path):
    backbone = Counting()
    prompts = [PROMPTS[2], PROMPTS[0], PROMPTS[2], PROMPTS[1], PROMPTS[0]]
    assert np.array_equal(ask(prompts, tmp_path, backbone), expected(prompts))
    assert sorted(backbone.embedded) == sorted(set(prompts))


def test_take_copies_the_rows_asked_for(tmp_path):
    embeddings = cached_embeddings(PROMPTS, HashingBackbone(DIMENSIONS), tmp_path, progress=False)
    rows = embeddings.take(np.array([3, 0, 3]))
    assert np.array_equal(rows, expected([PROMPTS[3], PROMPTS[0], PROMPTS[3]]))
    assert embeddings.dimension == DIMENSIONS
    rows[:] = 0  # a memory-mapped row could not be written, or would spoil the file
    assert np.array_equal(ask(PROMPTS, tmp_path), expected(PROMPTS))


def test_rows_are_normalised_and_prompts_without_words_are_zero(tmp_path):
    rows = ask([*PROMPTS, "", "?!", "one two two"], tmp_path)
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1, 1, 1, 0, 0, 1], abs=1e-6)


def test_more_prompts_than_a_chunk_come_out_in_order(tmp_path):
    prompts = [f"{'long ' * (i % 7)}prompt number{i}" for i in range(2 * CHUNK + 5)]
    backbone = Counting()
    assert np.array_equal(ask(prompts, tmp_path, backbone), expected(prompts))
    assert [len(call) for call in backbone.seen] == [CHUNK, CHUNK, 5]


def test_what_was_embedded_before_a_failure_is_kept(tmp_path):
    class Dies(Counting):
        def embed(self, prompts):
            if len(self.seen) == 1:
                raise KeyboardInterrupt
            return super().embed(prompts)

    prompts = [f"prompt number{i}" for i in range(CHUNK + 10)]
    with pytest.raises(KeyboardInterrupt):
        ask(prompts, tmp_path, Dies())
    again = Counting()
    assert np.array_equal(ask(prompts, tmp_path, again), expected(prompts))
    assert len(again.embedded) == 10


@pytest.mark.parametrize("litter", [DIMENSIONS * 4, DIMENSIONS * 4 * 3 + 8, 3])
def test_a_tail_of_vectors_without_keys_is_cut_off(tmp_path, litter):
    ask(PROMPTS[:2], tmp_path)
    with (only_folder(tmp_path) / "vectors.f32").open("ab") as stream:
        stream.write(b"\x7f" * litter)
    assert np.array_equal(ask(PROMPTS[:2], tmp_path), expected(PROMPTS[:2]))  # a reader looks past it
    assert np.array_equal(ask(PROMPTS, tmp_path), expected(PROMPTS))  # a writer removes it
    assert (only_folder(tmp_path) / "vectors.f32").stat().st_size == len(PROMPTS) * DIMENSIONS * 4


def test_half_a_key_is_cut_off(tmp_path):
    ask(PROMPTS[:2], tmp_path)
    folder = only_folder(tmp_path)
    with (folder / "vectors.f32").open("ab") as stream:
        stream.write(b"\x7f" * DIMENSIONS * 4)
    with (folder / "index.bin").open("ab") as stream:
        stream.write(b"\x01" * (ENTRY_BYTES // 2))
    assert np.array_equal(ask(PROMPTS, tmp_path), expected(PROMPTS))
    assert (folder / "index.bin").stat().st_size == len(PROMPTS) * ENTRY_BYTES


def test_vectors_left_before_the_first_key_do_not_count(tmp_path):
    ask(PROMPTS, tmp_path)
    folder = only_folder(tmp_path)
    (folder / "index.bin").unlink()
    (folder / "about.json").unlink()
    assert np.array_equal(ask(PROMPTS[1:], tmp_path), expected(PROMPTS[1:]))


def _append_in_a_process(cache, start):
    ask([f"prompt number{i}" for i in range(start, start + 300)], cache)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from 3.12 on, where threads run
def test_eight_processes_appending_at_once_leave_one_consistent_cache(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append_in_a_process, args=(tmp_path, 100 * (i // 2))) for i in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 8
    prompts = [f"prompt number{i}" for i in range(600)]
    backbone = Counting()
    assert np.array_equal(ask(prompts, tmp_path, backbone), expected(prompts))
    assert backbone.seen == []
    folder = only_folder(tmp_path)
    assert (folder / "index.bin").stat().st_size == 600 * ENTRY_BYTES
    assert (folder / "vectors.f32").stat().st_size == 600 * DIMENSIONS * 4


def _append_and_die(cache):
    class Dying(Counting):
        def embed(self, prompts):
            if self.embedded:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().embed(prompts)

    ask([f"another prompt number{i}" for i in range(2 * CHUNK)], cache, Dying())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_writer_killed_among_others_keeps_nobody_waiting(tmp_path):
    context = multiprocessing.get_context("fork")
    doomed = [context.Process(target=_append_and_die, args=(tmp_path,)) for _ in range(2)]
    others = [context.Process(target=_append_in_a_process, args=(tmp_path, 100 * i)) for i in range(6)]
    for process in [*doomed, *others]:
        process.start()
    for process in [*doomed, *others]:
        process.join(60)
    assert [process.exitcode for process in others] == [0] * 6
    assert sorted(process.exitcode for process in doomed) == [-signal.SIGKILL, 0]  # the second finds half of it done
    prompts = [f"another prompt number{i}" for i in range(2 * CHUNK)] + [f"prompt number{i}" for i in range(800)]
    assert np.array_equal(ask(prompts, tmp_path), expected(prompts))


def test_another_fingerprint_is_another_folder(tmp_path):
    ask(PROMPTS, tmp_path, HashingBackbone(DIMENSIONS))
    wide = ask(PROMPTS, tmp_path, HashingBackbone(2 * DIMENSIONS))
    assert wide.shape == (4, 2 * DIMENSIONS)
    assert len([path for path in (tmp_path / "embeddings").iterdir() if path.is_dir()]) == 2
    assert np.array_equal(ask(PROMPTS, tmp_path), expected(PROMPTS))


def test_unicode_and_lone_surrogates_are_prompts_like_others(tmp_path):
    prompts = [
        "naïve café",
        "日本語 の 質問",
        "smile 🙂 wide",
        "broken \ud800 half",
        "broken \udfff half",
        "e\u0301",
        "é",
    ]
    backbone = Counting()
    assert np.array_equal(ask(prompts, tmp_path, backbone), expected(prompts))
    assert np.array_equal(ask(prompts, tmp_path, backbone), expected(prompts))
    assert sorted(backbone.embedded) == sorted(prompts)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_embedding_that_is_not_finite_is_refused_and_not_kept(tmp_path, bad):
    with pytest.raises(ErpError, match="not finite"):
        ask(PROMPTS, tmp_path, Constant([1, bad]))
    assert np.array_equal(ask(PROMPTS, tmp_path, Constant([0, 2])), np.tile(np.float32([0, 1]), (4, 1)))


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "cache"
    file.write_text("a file where a folder should be")
    with pytest.raises(ErpError, match=f"cache_dir = {file}: cannot be written"):
        ask(PROMPTS, file)


def test_a_backbone_that_cannot_read_its_files_is_not_taken_for_a_full_disk(tmp_path):
    class Broken(Counting):
        def embed(self, prompts):
            raise OSError("config.json is missing")

    with pytest.raises(OSError, match="is missing"):
        ask(PROMPTS, tmp_path, Broken())


def test_without_a_cache_the_rows_are_normalised_too():
    rows = embed_prompts(PROMPTS, Constant([3, 4]))
    assert rows == pytest.approx(np.tile([0.6, 0.8], (4, 1)))
    assert np.array_equal(normalised(rows), rows)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no list of what is mapped")
def test_rows_are_read_not_mapped(tmp_path):
    """Memory does not grow with what is read: no page of the file is the process's."""
    prompts = [f"prompt number{i}" for i in range(2000)]
    embeddings = cached_embeddings(prompts, HashingBackbone(256), tmp_path, progress=False)
    rows = np.random.default_rng(0).permutation(2000)[:777]
    vectors = embeddings.take(rows)
    assert np.array_equal(vectors, embed_prompts([prompts[row] for row in rows], HashingBackbone(256)))
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_a_file_cut_short_by_somebody_else_is_no_vector(tmp_path):
    embeddings = cached_embeddings(PROMPTS, HashingBackbone(DIMENSIONS), tmp_path, progress=False)
    os.truncate(only_folder(tmp_path) / "vectors.f32", 2 * DIMENSIONS * 4)
    with pytest.raises(OSError, match="shorter than it was"):
        embeddings.take(np.arange(4))


def test_no_prompt_is_no_row(tmp_path):
    assert ask(PROMPTS, tmp_path).shape == (4, DIMENSIONS)
    assert ask([], tmp_path).shape == (0, DIMENSIONS)
