"""Logs of Inspect, in the layouts that release 0.3.285 was seen to write (`harness/inspect_runs.py`)."""

from __future__ import annotations

import io
import json
import zipfile
import zlib

import pyarrow

CREATED = "2026-11-29T18:46:14+00:00"
LATER = "2026-11-30T09:00:00+00:00"


def sample(number, epoch=1, value="C", scorer="match", **more):
    """A sample of one epoch; more replaces or adds."""
    scores = {} if value is ... else {scorer: {"value": value, "answer": "w", "explanation": "w", "history": []}}
    return {
        "id": number, "epoch": epoch, "input": f"Say the word w{number}", "target": f"gold{number}", "messages": [],
        "output": {"model": "small", "completion": "w", "choices": [
            {"message": {"role": "assistant", "content": "w"}, "stop_reason": "stop"},
        ]},
        "scores": scores, "metadata": {}, "store": {}, "events": [],
        "model_usage": {"mockllm/small": {"input_tokens": 10, "output_tokens": 3, "total_tokens": 20,
                                          "input_tokens_cache_write": 2, "input_tokens_cache_read": 5}},
        "role_usage": {}, "uuid": f"u{number}-{epoch}", "error_retries": [], "attachments": {}, **more,
    }  # fmt: skip


def header(model="mockllm/small", task="echo", status="success", created=CREATED, **spec):
    return {
        "version": 2, "status": status, "eval": {
            "eval_id": "e", "run_id": "r", "created": created, "task": task, "task_id": "t", "task_args": {},
            "task_args_passed": {}, "dataset": {"samples": 2}, "model": model, "model_generate_config": {},
            "model_args": {}, "config": {"epochs": 1}, "packages": {"inspect_ai": "0.3.285"}, **spec,
        },
        "plan": {"name": "plan", "steps": [], "config": {"max_connections": 1}}, "stats": {}, "invalidated": False,
    }  # fmt: skip


def packed(members, zstd=True):
    """A zip as Inspect packs it: with zstd, or with deflate as earlier releases did."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED if zstd else zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            plain = json.dumps(content).encode()
            if not zstd:
                archive.writestr(name, plain)
                continue
            half = len(plain) // 2  # two frames, as of what is large
            frames = [pyarrow.compress(part, "zstd", asbytes=True) for part in (plain[:half], plain[half:])]
            info = zipfile.ZipInfo(name)
            archive.writestr(info, b"".join(frames))
            info.compress_type, info.file_size, info.CRC = 93, len(plain), zlib.crc32(plain)
    return stream.getvalue()


def monolith(facts, samples):
    return {
        "_journal/start.json": {key: facts[key] for key in ("version", "eval", "plan")},
        **{f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in samples},
        "summaries.json": [{"id": s["id"], "epoch": s["epoch"], "input": str(s["input"])[:5120]} for s in samples],
        "header.json": facts,
    }


def chunked(facts, samples):
    members = {"header.json": facts, "summaries.json": []}
    for held in samples:
        prefix = f"samples/{held['id']}_epoch_{held['epoch']}"
        texts, text = list(held["attachments"].values()), json.dumps(held)
        for at, key in enumerate(held["attachments"]):
            text = text.replace(f"attachment://{key}", f"attachment://{at}")
        shell = {k: v for k, v in json.loads(text).items() if k not in ("messages", "events", "attachments")}
        members |= {f"{prefix}/sample.json": {**shell, "message_refs": [[0, 2]]}, f"{prefix}/skeleton.json": {},
                    f"{prefix}/events/stats.json": {}, f"{prefix}/messages/0.json": held["messages"]}  # fmt: skip
        members |= {f"{prefix}/attachments/{at}.json": [text] for at, text in enumerate(texts)}
    return members


def write(folder, samples, facts=None, name="one.eval", layout=monolith, zstd=True):
    folder.mkdir(parents=True, exist_ok=True)
    facts = facts or header()
    if name.endswith(".json"):
        (folder / name).write_text(json.dumps({**facts, "samples": samples, "reductions": []}))
    else:
        (folder / name).write_bytes(packed(layout(facts, samples), zstd))
    return folder / name
