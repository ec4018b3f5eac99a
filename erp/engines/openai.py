"""Any server with an OpenAI-compatible chat-completions API as an engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from erp.config import Member
from erp.engines.base import Answer, Engine, Failure, Request, Response, consecutive
from erp.engines.chat_address import checked_extra
from erp.engines.chat_answers import Choice, Completion
from erp.engines.chat_api import ChatAPI, Post, together
from erp.engines.chat_models import oddities
from erp.engines.chat_session import Body, Unanswered
from erp.errors import ErpError, shorten

OURS = frozenset(  # set from the request, the member's decoding, or an option of the engine
    (
        "model",
        "messages",
        "n",
        "seed",
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "logprobs",
    )
)
BROKEN_OFF = frozenset(("error", "abort"))  # what a server says under status 200 of a response that it could not end


class OpenAIEngine(Engine):
    """Samples behind an address: vLLM, SGLang, llama.cpp, Ollama, or a hosted API.

    The server has its own weights and chat template: ``member.model`` (else its name) is what it calls the model, and
    ``file``, ``sha256`` and ``revision`` are not looked at. A member's ``chat_template`` is refused, unless the server
    takes one and ``extra_body`` holds the same text.

    Decoding: a field is sent if it is set; of ``temperature``, ``top_p`` and ``max_tokens``, which have values of their
    own, null leaves one out. Some APIs refuse ``top_p`` beside ``temperature``, or any value of either. ``top_k`` and
    ``min_p`` are not OpenAI's: a server that does not know them may refuse the call. Where they are not sent, servers
    have defaults of their own: vLLM those of the model's ``generation_config.json``, llama.cpp top_k=40, min_p=0.05.
    To sample from the whole distribution, switch them off in ``extra_body``: ``{top_k: -1}`` on vLLM and SGLang,
    ``{top_k: 0, min_p: 0}`` on llama.cpp. ``transformers serve`` draws nothing, whatever the temperature, unless the
    model's generation config says ``do_sample``, or ``{generation_config: '{"do_sample": true}'}`` does.

    Samples: by default every sample is a call of its own, with a seed of its own (``seed + j``) and an exact token
    count; what the prompt costs K times is saved by a server's prefix cache, but paid for on a hosted API. There,
    ``n_supported`` asks for all K in one call with one seed. ``usage`` then counts the tokens of all choices (OpenAI,
    vLLM) or of one (llama.cpp), so that those of each choice are not known (None) unless ``logprobs`` counts them.

    Args:
        base_url: address up to and with ``/v1``.
        api_key_env: environment variable with the key; none is sent where it is empty.
        concurrency: calls at once.
        timeout_s: of one attempt.
        retries: attempts after the first, where the server is busy or broken, or the connection.
        backoff_s: wait before the second attempt; doubled at every further one.
        backoff_max_s: longest wait, unless the server asks for a longer one.
        n_supported: whether K samples are asked for in one call. ``auto`` does so until the server refuses it or gives
            fewer; what is missing is then asked for one by one, as is everything after that.
        logprobs: ask for log-probabilities where K samples come from one call, to count each one's tokens.
        seed_supported: whether seeds are sent.
        max_tokens_field: what the server calls the limit; OpenAI's reasoning models know the second only.
        keep_filtered: whether what a server cut by its content filter counts as a response; else as a failure.
        extra_body: further fields of every call, as JSON; no field that is set otherwise.
    """

    pace = frozenset(
        [
            "base_url",
            "api_key_env",
            "concurrency",
            "timeout_s",
            "retries",
            "backoff_s",
            "backoff_max_s",
            "n_supported",
            "logprobs",
            "max_tokens_field",
        ]
    )

    def __init__(
        self,
        base_url: str = "http://localhost:8000/v1",
        api_key_env: str | None = "OPENAI_API_KEY",
        concurrency: int = 32,
        timeout_s: float = 600.0,
        retries: int = 6,
        backoff_s: float = 1.0,
        backoff_max_s: float = 60.0,
        n_supported: bool | Literal["auto"] = False,
        logprobs: bool = False,
        seed_supported: bool = True,
        max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens",
        keep_filtered: bool = True,
        extra_body: dict[str, Any] | None = None,
    ) -> None:
        self._api = ChatAPI("engine", base_url, api_key_env, concurrency, timeout_s, retries, backoff_s, backoff_max_s)
        self.n_supported = n_supported
        self.logprobs = logprobs
        self.seed_supported = seed_supported
        self.max_tokens_field = max_tokens_field
        self.keep_filtered = keep_filtered
        self.extra_body = checked_extra("engine", extra_body, OURS)
        self._takes_n: dict[str, bool] = {}  # by model, as found out

    def ready(self, members: Sequence[Member]) -> list[str]:
        """Ask which models the server has: nothing is paid for that."""
        listed = self._api.models()
        return [] if listed is None else oddities(listed, members, self._api.base_url)

    def generate(self, requests: Iterable[Request], member: Member) -> Iterator[Answer]:
        """Sample responses to each request, as many calls at once as ``concurrency`` says."""
        return self._answers(requests, self._shared(member))

    def stop(self) -> bool:
        """Leave the calls under way."""
        self._api.stop()
        return True

    def _answers(self, requests: Iterable[Request], shared: Body) -> Iterator[Answer]:
        positions: dict[int, int] = {}  # number of a call under way -> position of its request

        def calls() -> Iterator[Request]:
            number = 0
            for position, request in enumerate(requests):
                at_once = self.n_supported and self._takes_n.get(shared["model"]) is not False
                for samples in consecutive(request.samples, len(request.samples) if at_once else 1):
                    positions[number] = position  # a server that draws n choices counts one seed up
                    number += 1
                    alone = len(samples) == len(request.samples)
                    yield request if alone else replace(request, samples=tuple(samples))

        async def call(post: Post, request: Request) -> list[tuple[int, Response | Failure]]:
            return await self._call(post, {**shared, "messages": list(request.messages)}, request)

        for number, answers in self._api.each(calls(), call):
            position = positions.pop(number)
            assert not isinstance(answers, Failure)  # each sample has its own
            yield from ((position, j, answer) for j, answer in answers)

    def _shared(self, member: Member) -> Body:
        """What all calls for a member have in common."""
        decoding = member.decoding
        said = {
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "top_k": decoding.top_k,
            "min_p": decoding.min_p,
            self.max_tokens_field: decoding.max_tokens,
            "stop": decoding.stop or None,
        }
        ours: Body = {"model": member.weights, **{name: value for name, value in said.items() if value is not None}}
        if twice := ours.keys() & self.extra_body.keys():
            raise ErpError(
                f"engine.extra_body: {shorten(sorted(twice))} is set in the decoding of {member.name} too; keep one"
            )
        if member.chat_template not in (None, self.extra_body.get("chat_template")):
            raise ErpError(
                f"pool.members: {member.name} has a chat_template, but a server behind an address uses its own; start "
                f"the server with it, or, if it takes one with a call, repeat it as engine.extra_body.chat_template"
            )
        return ours | self.extra_body

    async def _call(self, post: Post, body: Body, request: Request) -> list[tuple[int, Response | Failure]]:
        """One call for all samples of a request where that can be, else one for each."""
        model, samples = body["model"], request.samples
        if len(samples) == 1:
            return [(samples[0], await self._single(post, body, request.seed + samples[0]))]
        if self.n_supported is not True and self._takes_n.get(model) is False:  # found out since the request was made
            return await self._singles(post, body, request.seed, samples)
        at_once = {"n": len(samples), **({"logprobs": True} if self.logprobs else {})}
        try:
            completion = await post({**body, **at_once, **self._seed(request.seed + samples[0])})
        except Unanswered as error:
            if not error.refused or self.n_supported is True or self._takes_n.get(model):
                return [(j, error.failure()) for j in samples]
            first = await self._single(post, body, request.seed + samples[0])
            if isinstance(first, Failure):  # refused as well: then it is not for the n
                return [(j, first) for j in samples]
            self._takes_n[model] = False
            return [(samples[0], first), *await self._singles(post, body, request.seed, samples[1:])]
        came = [self._read(completion, choice) for choice in completion.choices[: len(samples)]]
        if self.n_supported is True and len(came) < len(samples):
            few = Failure(f"{len(came)} of {len(samples)} choices came; set engine.n_supported=auto")
            came += [few] * (len(samples) - len(came))
        else:
            self._takes_n[model] = len(came) == len(samples)
        missing = samples[len(came) :]
        return [*zip(samples, came, strict=False), *await self._singles(post, body, request.seed, missing)]

    async def _singles(
        self, post: Post, body: Body, seed: int, samples: Sequence[int]
    ) -> list[tuple[int, Response | Failure]]:
        return list(zip(samples, await together(self._single(post, body, seed + j) for j in samples), strict=True))

    async def _single(self, post: Post, body: Body, seed: int) -> Response | Failure:
        try:
            completion = await post({**body, **self._seed(seed)})
        except Unanswered as error:
            return error.failure()
        return self._read(completion, completion.choices[0])

    def _read(self, completion: Completion, choice: Choice) -> Response | Failure:
        if choice.finish_reason in BROKEN_OFF:
            return Failure(f"the server broke the response off: finish_reason = {choice.finish_reason}")
        if choice.finish_reason == "content_filter" and not self.keep_filtered:
            return Failure("the server held the response back: finish_reason = content_filter", final=True)
        alone = len(completion.choices) == 1  # usage is then of this choice, whichever way the server counts
        tokens = completion.completion_tokens if alone else choice.tokens
        return Response(choice.text, completion.prompt_tokens, tokens, choice.finish_reason)

    def _seed(self, seed: int) -> Body:
        return {"seed": seed} if self.seed_supported else {}
