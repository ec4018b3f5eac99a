"""GGUF files of a tiny Llama with random weights and a byte-level vocabulary, and of its eye: what llama.cpp needs."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WIDTH, HEADS, LAYERS, HIDDEN = 64, 4, 2, 128
PATCH, PATCHES = 8, 4  # pixels of a patch's side; patches of an image, each of which is read as one token
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def byte_letters() -> list[str]:
    """The 256 letters in which byte-level vocabularies write bytes (GPT-2's table)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


def write_tiny_gguf(path: Path, seed: int = 0, sharpness: float = 8.0) -> Path:
    """Write the model; the sharper, the more one token stands out."""
    letters = byte_letters()
    words = [("Y", "e"), ("Ye", "s"), ("N", "o")]
    tokens = [*letters, *(a + b for a, b in words), *SPECIAL]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    kinds = [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL)) + [gguf.TokenType.CONTROL] * len(SPECIAL)
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{a} {b}" for a, b in words])
    end = tokens.index("<|end|>")
    writer.add_eos_token_id(end)
    writer.add_bos_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(seed)

    def matrix(name: str, rows: int, columns: int, scale: float = 1.0) -> None:
        values = random.normal(size=(rows, columns)) * scale / columns**0.5
        writer.add_tensor(name, values.astype(np.float32))

    matrix("token_embd.weight", len(tokens), WIDTH, 4.0)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}{norm}.weight", np.ones(WIDTH, dtype=np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{block}{name}.weight", WIDTH, WIDTH)
        matrix(f"{block}ffn_gate.weight", HIDDEN, WIDTH)
        matrix(f"{block}ffn_up.weight", HIDDEN, WIDTH)
        matrix(f"{block}ffn_down.weight", WIDTH, HIDDEN)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    matrix("output.weight", len(tokens), WIDTH, sharpness)
    return _written(writer, path)


def write_tiny_projector(path: Path, seed: int = 0) -> Path:
    """Write what shows images to the tiny model (llama.cpp's ``mmproj``): each patch by two layers, as LLaVA's.

    Of LLaVA's blocks the last is never asked, so that one alone, of which nothing but its place is needed, is none.
    """
    side = round(PATCHES**0.5)
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_image_size(side * PATCH)
    writer.add_vision_patch_size(PATCH)
    writer.add_vision_embedding_length(WIDTH)
    writer.add_vision_feed_forward_length(HIDDEN)
    writer.add_vision_block_count(1)
    writer.add_vision_head_count(HEADS)
    writer.add_vision_attention_layernorm_eps(1e-5)
    writer.add_vision_projection_dim(WIDTH)
    writer.add_vision_image_mean([0.5] * 3)
    writer.add_vision_image_std([0.5] * 3)
    random = np.random.default_rng(seed)
    shapes = {
        "v.patch_embd.weight": (WIDTH, 3, PATCH, PATCH),
        "v.position_embd.weight": (PATCHES, WIDTH),
        "v.blk.0.attn_out.weight": (WIDTH, WIDTH),
        "v.blk.0.ffn_up.weight": (HIDDEN, WIDTH),
        "v.blk.0.ffn_down.weight": (WIDTH, HIDDEN),
        "mm.0.weight": (HIDDEN, WIDTH),
        "mm.0.bias": (HIDDEN,),
        "mm.2.weight": (WIDTH, HIDDEN),
        "mm.2.bias": (WIDTH,),
    }
    for name, shape in shapes.items():
        writer.add_tensor(name, random.normal(size=shape).astype(np.float32))
    return _written(writer, path)


def _written(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
