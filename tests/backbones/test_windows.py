"""A prompt longer than the window: what is read of it, what is said, and that its head is read as ever."""

import itertools

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from erp.backbones.cache import cached_embeddings, embed_prompts
from erp.backbones.hashing import HashingBackbone
from erp.backbones.joined import JoinedBackbone
from erp.backbones.llm_hidden import LLMHiddenBackbone
from erp.backbones.sentence_transformer import SentenceTransformerBackbone
from erp.backbones.windows import Pieces
from erp.errors import ErpError
from tests.backbones.tiny_encoders import tiny_encoder
from tests.engines.tiny import tiny_llama

ROOM = 12  # [CLS], ten letters, [SEP]
SHORT = ["abc", "abcdefghij", ""]
LONG = [
    "abcd efgh ijkl mnop qrst uvwx",
    "zyxwvutsrqponmlkjihgfedcba" * 3,
    "a b c d e f g h i j k",
    "🙂é日 abcdefghijkl",
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """An encoder of which every letter is a token."""
    return tiny_encoder(tmp_path_factory.mktemp("encoder") / "bert", "bert", "mean")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("llama") / "TinyLlama")


def encoder(folder, **changes):
    return SentenceTransformerBackbone(str(folder), **{"max_tokens": ROOM, **changes})


def by_hand(folder, pieces):
    """The mean over letters of what the encoder makes of each piece alone."""
    vectors = encoder(folder).embed(pieces)
    letters = np.array([len(piece.replace(" ", "")) for piece in pieces])
    return (vectors * letters[:, None]).sum(axis=0) / letters.sum()


def test_the_head_is_what_the_library_itself_reads(bert):
    from sentence_transformers import SentenceTransformer

    library = SentenceTransformer(str(bert), local_files_only=True, device="cpu")
    library.max_seq_length = ROOM
    assert np.array_equal(encoder(bert).embed(LONG), library.encode(LONG, show_progress_bar=False))
    assert encoder(bert).fingerprint() == encoder(bert, long="head").fingerprint()


def test_the_tail_is_the_last_tokens(bert):
    tail = encoder(bert, long="tail").embed(LONG[:3])
    ends = ["op qrst uvwx", "qponmlkjihgfedcba"[-10:], "b c d e f g h i j k"]
    assert tail == pytest.approx(encoder(bert).embed(ends), abs=1e-5)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("abcd efgh ijkl mnop qrst uvwx", ["abcd efgh ", "ijkl mnop ", "qrst uvwx"]),  # 24 letters: 3 pieces of 8
        ("a b c d e f g h i j k", ["a b c d e ", "f g h i j k"]),
        ("abcdefghij" * 2 + "k", ["abcdefg", "hijabcd", "efghijk"]),  # a word longer than the window
        ("abcdefgh ab abcdefghij", ["abcdefgh ab", " abcdefghij"]),  # never within a word that fits
    ],
)
def test_the_mean_is_over_the_tokens_of_pieces_that_cover_the_text(bert, text, pieces):
    assert "".join(pieces) == text
    assert encoder(bert, long="mean").embed([text])[0] == pytest.approx(by_hand(bert, pieces), abs=1e-5)


@pytest.mark.parametrize("long", ["tail", "mean"])
def test_what_fits_is_embedded_as_ever(bert, long):
    assert encoder(bert, long=long).embed(SHORT) == pytest.approx(encoder(bert).embed(SHORT), abs=1e-6)
    mixed = encoder(bert, long=long).embed([*LONG, *SHORT])
    assert mixed[len(LONG) :] == pytest.approx(encoder(bert).embed(SHORT), abs=1e-5)
    assert mixed[: len(LONG)] == pytest.approx(encoder(bert, long=long).embed(LONG), abs=1e-5)


@pytest.mark.parametrize("seed", range(30))
def test_pieces_cover_any_text_and_fit(bert, seed):
    random = np.random.default_rng(seed)
    alphabet = list("abcxyz   \n\t.,é日🙂\u0301")
    texts = ["".join(random.choice(alphabet, size=int(random.integers(0, 400)))) for _ in range(5)]
    prefix = ["", "q: "][seed % 2]
    window = encoder(bert, prefix=prefix, max_tokens=int(random.integers(8, 40))).reader()
    pieces = window.pieces(texts, "mean")
    for position, text in enumerate(texts):
        own = [
            piece.removeprefix(prefix) for piece, at in zip(pieces.texts, pieces.owner, strict=True) if at == position
        ]
        assert "".join(own) == text
    assert all(piece.startswith(prefix) for piece in pieces.texts)
    assert window.unread([piece.removeprefix(prefix) for piece in pieces.texts]).max() == 0
    tails = window.pieces(texts, "tail")
    assert all(text.endswith(tail.removeprefix(prefix)) for text, tail in zip(texts, tails.texts, strict=True))


def test_the_prefix_is_read_with_every_piece(bert):
    """Four of the ten tokens are the prefix's: pieces of six letters."""
    found = encoder(bert, long="mean", prefix="abcd ").embed(["uvwxyz zyxwvu"])
    pieces = encoder(bert, prefix="abcd ").embed(["uvwxyz", "zyxwvu"])
    assert found[0] == pytest.approx(pieces.mean(axis=0), abs=1e-5)
    with pytest.raises(ErpError, match=r"backbone\.long = tail: a window of 12 tokens has no room beside the prefix"):
        encoder(bert, long="tail", prefix="abcdefghijklm ").embed(LONG)


def test_how_much_is_not_read_is_counted(bert):
    """Letters beyond the ten (what the tokenizer does not know is one token a run), and none where pieces cover all."""
    expected = [14, 68, 1, 4]
    assert encoder(bert).unread([*LONG, *SHORT]).tolist() == [*expected, 0, 0, 0]
    assert encoder(bert, long="tail").unread(LONG).tolist() == expected
    assert encoder(bert, long="mean").unread(LONG).tolist() == [0] * 4
    assert encoder(bert).window() == ROOM
    assert encoder(bert, max_tokens=None).window() == 256
    assert HashingBackbone(8).window() is None
    assert HashingBackbone(8).unread(LONG).tolist() == [0] * 4


def test_every_choice_has_a_cache_of_its_own_and_the_cache_knows_what_was_cut(bert, tmp_path):
    prompts = [*LONG, *SHORT]
    for _ in range(2):  # made, then found
        for long in ("head", "tail", "mean"):
            backbone = encoder(bert, long=long)
            found = cached_embeddings(prompts, backbone, tmp_path, progress=False)
            assert found.take(np.arange(len(prompts))) == pytest.approx(embed_prompts(prompts, backbone), abs=1e-5)
            assert found.window == ROOM
            assert found.unread.tolist() == ([0] * 7 if long == "mean" else [14, 68, 1, 4, 0, 0, 0])
    assert len([path for path in (tmp_path / "embeddings").iterdir() if path.is_dir()]) == 3


def test_a_warm_cache_counts_no_token_again(bert, tmp_path, monkeypatch):
    cached_embeddings(LONG, encoder(bert), tmp_path, progress=False)
    monkeypatch.setattr(SentenceTransformerBackbone, "_load", lambda self: pytest.fail("loaded"))
    assert cached_embeddings(LONG, encoder(bert), tmp_path, progress=False).unread.tolist() == [14, 68, 1, 4]


def test_equal_vectors_of_distinct_prompts_are_counted(tmp_path):
    prompts = ["red fox", "fox red", "red fox", "Fox, red!", "blue whale", "?", "!", "green"]
    found = cached_embeddings(prompts, HashingBackbone(64), tmp_path, progress=False)
    assert found.shared() == pytest.approx(5 / 7)  # three of red and fox, two without a word; one text is there twice
    distinct = cached_embeddings(["red fox", "red fox", "green"], HashingBackbone(64), tmp_path, progress=False)
    assert distinct.shared() == 0


def test_an_encoder_in_training_reads_the_same(bert):
    """With gradients, in parts and at once: the normalised vectors of the backbone."""
    for long in ("head", "tail", "mean"):
        for batch_size in (2, 64):
            backbone = encoder(bert, long=long, finetune=True, batch_size=batch_size)
            expected = embed_prompts([*LONG, *SHORT], encoder(bert, long=long))
            found = backbone.encoder()([*LONG, *SHORT])
            assert found.detach().numpy() == pytest.approx(expected, abs=1e-5)
            found.sum().backward()


def test_joined_backbones_read_as_told(bert):
    parts = [encoder(bert), HashingBackbone(8)]
    assert JoinedBackbone(parts).unread(LONG).tolist() == [14, 68, 1, 4]
    assert JoinedBackbone(parts).window() == ROOM
    whole = JoinedBackbone([encoder(bert), HashingBackbone(8)], long="mean")
    assert whole.unread(LONG).tolist() == [0] * 4
    assert whole.embed(LONG)[:, :32] == pytest.approx(embed_prompts(LONG, encoder(bert, long="mean")), abs=1e-5)
    assert whole.fingerprint() != JoinedBackbone(parts).fingerprint()
    assert JoinedBackbone([encoder(bert, long="tail"), HashingBackbone(8)]).parts[0].long == "tail"


def test_a_choice_that_there_is_not_is_refused_by_name(bert):
    from erp.backbones.base import build_backbone

    node = {"_target_": "erp.backbones.sentence_transformer.SentenceTransformerBackbone", "model": str(bert)}
    with pytest.raises(ErpError, match=r"backbone\.long = middle"):
        build_backbone({**node, "long": "middle"}, None)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_causal_lm_reads_head_tail_and_mean(llama, pooling):
    tokenizer, model = AutoTokenizer.from_pretrained(llama), AutoModelForCausalLM.from_pretrained(llama).eval()
    text = "Write a short poem about the sea, the wind and the rain. Is it so? " * 3
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    size = 16

    def alone(part):
        """By the equations: <s> before the tokens, the last layer's states."""
        with torch.no_grad():
            tokens = torch.tensor([[tokenizer.bos_token_id, *part]])
            states = model(tokens, output_hidden_states=True).hidden_states[-1][0].numpy()
        return states.mean(axis=0) if pooling == "mean" else states[-1]

    def read(long):
        backbone = LLMHiddenBackbone(str(llama), pooling=pooling, max_tokens=size, long=long)
        assert backbone.unread([text, "a"]).tolist() == [0 if long == "mean" else len(ids) - size, 0]
        assert backbone.window() == size
        return backbone.embed([text, "a"])[0]

    assert read("head") == pytest.approx(alone(ids[:size]), abs=1e-4)
    assert read("tail") == pytest.approx(alone(ids[-size:]), abs=1e-4)
    parts = -(-len(ids) // size)
    bounds = np.cumsum([0, *(len(part) for part in np.array_split(ids, parts))])  # the first ones one longer
    pieces = [ids[a:b] for a, b in itertools.pairwise(bounds)]
    expected = sum(len(piece) * alone(piece) for piece in pieces) / len(ids)
    assert read("mean") == pytest.approx(expected, abs=1e-4)


def test_a_causal_lm_tears_no_character(llama):
    """Emojis of several tokens: pieces of whole ones, that together are the text."""
    backbone = LLMHiddenBackbone(str(llama), max_tokens=10, long="mean")
    text = "ab 🙂🙂🙂 日本語 é" * 4
    seen = []
    embed = backbone._loaded().embed
    backbone._loaded().embed = lambda texts: seen.extend(texts) or embed(texts)
    backbone.embed([text])
    assert "".join(seen) == text
    assert len(seen) > 5


def test_pieces_are_joined_by_their_tokens():
    pieces = Pieces.of([[("a", 1), ("b", 3)], [("c", 7)]])
    assert pieces.joined(np.float32([[4, 0], [0, 4], [1, 2]])).tolist() == [[1, 3], [1, 2]]
