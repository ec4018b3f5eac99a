"""GGUF files in process, through ``xllamacpp``: llama.cpp's server with its slots, without a server to start."""

from __future__ import annotations

import json
import math
import os
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Any

from erp.config import Member
from erp.engines.base import Answer, Engine, Failure, Message, Request, Response, consecutive
from erp.errors import ErpError
from erp.weights import Weights, find_file

_LIKELIEST = 500  # tokens whose probability the server lists; a word beyond them is as unlikely as the last
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the server is in this process
_BAD_REQUEST = 400
_FINISH = {"eos": "stop", "word": "stop", "limit": "length"}


class LlamaCpp(Engine):
    """llama.cpp: continuous batching over slots; the K samples of a prompt share one prefill.

    Args:
        threads: CPU threads; None for the machine's cores.
        slots: sequences decoded at once.
        context: tokens a sequence may have, prompt and response together.
        gpu_layers: how many layers lie on the GPU; -1 for all that fit, where the installed wheel supports one.
    """

    pace = frozenset(["threads", "slots", "context", "gpu_layers"])

    def __init__(self, threads: int | None = None, slots: int = 16, context: int = 2048, gpu_layers: int = -1) -> None:
        for name, value in (("slots", slots), ("context", context), ("threads", 1 if threads is None else threads)):
            if value < 1:
                raise ErpError(f"engine.{name} = {value}: give 1 or more")
        self.threads, self.slots, self.context, self.gpu_layers = threads, slots, context, gpu_layers
        self._weights_dir: str | None = None
        self._loaded: tuple[object, ...] | None = None
        self._server: Any = None
        self._free: SimpleQueue[int] = SimpleQueue()

    @property
    def concurrency(self) -> int:
        """How many calls of ``log_odds`` may run at once: each holds a slot."""
        return self.slots

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""
        self._weights_dir = weights_dir

    def generate(self, requests: Iterable[Request], member: Member) -> Iterator[Answer]:
        """Sample; see ``Engine.generate``. Floating-point sums depend on what shares a batch, and so may responses."""
        self._load(member)
        waiting = enumerate(requests)
        running: dict[Future[list[Response] | Failure], tuple[int, Request]] = {}
        sequences = 0
        # Enough sequences in flight that slots are never idle while one prompt's last sample is being written.
        with ThreadPoolExecutor(max(2, 2 * self.slots)) as pool:
            try:
                while True:
                    while sequences < 2 * self.slots or len(running) < 2:
                        if (following := next(waiting, None)) is None:
                            break
                        sequences += len(following[1].samples)
                        running[pool.submit(self._samples, following[1], member)] = following
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        position, request = running.pop(future)
                        sequences -= len(request.samples)
                        found = future.result()
                        for at, j in enumerate(request.samples):
                            yield position, j, found if isinstance(found, Failure) else found[at]
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _samples(self, request: Request, member: Member) -> list[Response] | Failure:
        d = member.decoding
        body = {
            # All is said: the server's defaults (top_k 40, min_p .05) would otherwise sample from another law.
            **{name: value for name in ("temperature", "top_p") if (value := getattr(d, name)) is not None},
            "top_k": d.top_k or 0, "min_p": d.min_p or 0.0, "typical_p": 1.0, "repeat_penalty": 1.0,
            "n_predict": -1 if d.max_tokens is None else d.max_tokens, "stop": d.stop, "cache_prompt": True,
            "samplers": ["top_k", "top_p", "min_p", "temperature"],
        }  # fmt: skip
        found: list[Response] = []
        try:
            body["prompt"] = self._post("/apply-template", {"messages": list(request.messages)})["prompt"]
            for run in consecutive(request.samples, self.slots):  # the server counts seeds up itself
                answer = self._post("/completion", {**body, "n": len(run), "seed": request.seed + run[0]})
                choices = answer if isinstance(answer, list) else [answer]
                found += [_response(c) for c in sorted(choices, key=lambda c: c.get("index", 0))]
        except _RefusedError as error:
            return Failure(str(error), final=error.final)
        count = len(request.samples)
        return found if len(found) == count else Failure(f"the server gave {len(found)} of {count} samples")

    def log_odds(
        self, prefix: tuple[Message, ...], endings: Sequence[str], member: Member, yes: Sequence[str], no: Sequence[str]
    ) -> list[float | Failure]:
        """Log-odds of the next word; see ``NextToken.log_odds``. One slot takes all endings: it keeps the prefix."""
        self._load(member)
        try:
            words = [{self._first_token(word) for word in side} for side in (yes, no)]
        except _RefusedError as error:
            return [Failure(str(error), final=error.final) for _ in endings]
        if words[0] & words[1]:
            raise ErpError(
                f"reward_model.yes = {list(yes)}, no = {list(no)}: begin with one token in this model's vocabulary, so "
                f"that it cannot tell them apart; give other words"
            )
        slot = self._free.get()
        try:
            return [self._log_odds_of(prefix, ending, slot, *words) for ending in endings]
        finally:
            self._free.put(slot)

    def _first_token(self, word: str) -> int:
        tokens = self._post("/tokenize", {"content": word})["tokens"]
        if not tokens:
            raise ErpError(f"reward_model.yes, no = {word!r}: is no word; give one")
        return int(tokens[0])

    def _log_odds_of(
        self, prefix: tuple[Message, ...], ending: str, slot: int, yes: set[int], no: set[int]
    ) -> float | Failure:
        *turns, last = prefix
        messages = [*turns, {**last, "content": last["content"] + ending}]
        try:
            prompt = self._post("/apply-template", {"messages": messages})["prompt"]
            body = {"prompt": prompt, "n_predict": 1, "n_probs": _LIKELIEST, "id_slot": slot, "cache_prompt": True}
            # The bias only settles which token is written (an end of turn would leave no probabilities to read); those
            # that are listed are the model's own.
            answer = self._post("/completion", {**body, "temperature": 0.0, "logit_bias": [[min(yes), 1000.0]]})
        except _RefusedError as error:
            return Failure(str(error), final=error.final)
        listed = {t["id"]: t["logprob"] for t in answer["completion_probabilities"][0]["top_logprobs"]}
        floor = min(listed.values())
        sides = [math.log(sum(math.exp(listed.get(token, floor)) for token in side)) for side in (yes, no)]
        return sides[0] - sides[1]

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self._server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with _DIRECT.open(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise _RefusedError(_reason(error), final=error.code == _BAD_REQUEST) from None
        except (OSError, ValueError) as error:
            raise _RefusedError(f"{type(error).__name__}: {error}") from None

    def _load(self, member: Member) -> None:
        wanted = (member.weights, member.file, member.sha256, member.revision, member.chat_template)
        if self._loaded == wanted:
            return
        self.close()
        if member.file is None:
            raise ErpError(f"pool.members.{member.name}.file: is required; name the GGUF file of {member.weights}")
        try:
            import xllamacpp
        except ModuleNotFoundError:
            raise ErpError("engine = llamacpp: needs the package xllamacpp; pip install 'erp[llamacpp]'") from None
        path = find_file(Weights(member.weights, member.file, member.sha256, None, member.revision), self._weights_dir)
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_parallel = self.slots
        params.n_ctx = self.slots * self.context
        params.cont_batching = True
        params.cpuparams.n_threads = self.threads or os.cpu_count() or 1
        params.n_gpu_layers = self.gpu_layers
        params.verbosity = -1
        params.endpoint_slots = False
        if member.chat_template is not None:
            params.chat_template = member.chat_template
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ErpError(
                f"{path}: llama.cpp does not load it ({error}); check that it is a GGUF file, the chat template, "
                f"and that engine.slots = {self.slots} x engine.context = {self.context} tokens fit in memory"
            ) from None
        self._free = SimpleQueue()
        for slot in range(self.slots):
            self._free.put(slot)
        self._loaded = wanted

    def close(self) -> None:
        """Stop the server and give its memory back."""
        self._server, self._loaded = None, None


class _RefusedError(Exception):
    """The server did not take a request. ``final``: the request is at fault, as a prompt with no room is."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"


def _response(choice: dict[str, Any]) -> Response:
    finish = _FINISH.get(choice.get("stop_type", ""), choice.get("stop_type"))
    return Response(choice["content"], choice["tokens_evaluated"], choice["tokens_predicted"], finish)
