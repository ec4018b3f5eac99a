"""The log-odds of "Yes" as a server tells them: from the log-probabilities of its answer's first token."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from erp.collect.rewards.base import Pair
from erp.collect.rewards.called import CalledRewardModel
from erp.collect.rewards.judge import filled, sent_fields
from erp.collect.rewards.yes_logit import QUESTION
from erp.engines.chat_answers import Endpoint
from erp.engines.chat_api import Asks, ChatAPI
from erp.engines.openai import BROKEN_OFF
from erp.errors import ErpError

Likely = list[tuple[str, float]]  # the likeliest first tokens, and their log-probabilities


class ServedYesLogit(CalledRewardModel):
    """``yes_logit`` by an LLM behind an OpenAI-compatible address that gives log-probabilities (vLLM, llama.cpp, APIs).

    One call a pair, of one token. Servers tell the ``top_logprobs`` likeliest tokens alone: of a word that is not among
    them it is known that it is no likelier than the last, and that is what it is taken for (``bounded``).

    Counts: ``bounded``, and as missing scores ``neither`` (no word of either kind is among them) and ``no_logprobs``
    (the server told none: it cannot, or its filter cut the answer).

    Args:
        model: what the server calls it.
        base_url: address up to and with ``/v1``.
        api_key_env: environment variable with the key; none is sent where it is empty.
        question: what the model is asked, with ``{prompt}`` and ``{response}`` in it.
        yes: tokens that say yes, blanks around them left out.
        no: tokens that say no.
        top_logprobs: how many tokens the server is asked for.
        temperature: None sends none.
        max_tokens_field: what the server calls the limit, which is one token.
        concurrency: calls at once.
        timeout_s: of one attempt.
        retries: attempts after the first.
        backoff_s: wait before the second attempt; doubled at every further one.
        backoff_max_s: longest wait, unless the server asks for a longer one.
        extra_body: further fields of every call, as JSON: what turns a model's thoughts off, say.
    """

    reads_references = False

    def __init__(
        self,
        model: str,
        base_url: str = "http://localhost:8000/v1",
        api_key_env: str | None = "OPENAI_API_KEY",
        question: str = QUESTION,
        yes: list[str] = ["Yes"],  # noqa: B006  # never changed, and a config shows it
        no: list[str] = ["No"],  # noqa: B006
        top_logprobs: int = 20,
        temperature: float | None = 0.0,
        max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens",
        concurrency: int = 32,
        timeout_s: float = 600.0,
        retries: int = 6,
        backoff_s: float = 1.0,
        backoff_max_s: float = 60.0,
        extra_body: dict[str, Any] | None = None,
    ) -> None:
        if not ("{prompt}" in question and "{response}" in question):
            raise ErpError("reward_model.question: has to hold {prompt} and {response}")
        if top_logprobs < 2:
            raise ErpError(f"reward_model.top_logprobs = {top_logprobs}: give 2 or more, as many as the server allows")
        if not yes or not no or {*yes} & {*no}:
            raise ErpError("reward_model.yes, reward_model.no: give words of each kind, none of both")
        api = ChatAPI(
            "reward_model", base_url, api_key_env, concurrency, timeout_s, retries, backoff_s, backoff_max_s,
            Endpoint("/chat/completions", likely_first, "chat completion", base="/v1"),
        )  # fmt: skip
        super().__init__(api)
        self.question, self.yes, self.no = question, yes, no
        asked = {"logprobs": True, "top_logprobs": top_logprobs}
        self.fields = sent_fields(model, temperature, 1, max_tokens_field, extra_body) | asked

    def about(self) -> dict[str, Any]:
        """What the manifest says of these scores."""
        asked = {"question": self.question, "yes": self.yes, "no": self.no}
        return {"base_url": self._api.base_url, **self.fields, **asked}

    def notes(self, counts: Mapping[str, int], scored: int | None) -> list[str]:
        """How often one of the words was not among the tokens told."""
        bounded, of = counts.get("bounded", 0), "" if scored is None else f" of {scored:,}"
        what = "was not among the tokens that the server told, and is taken for as likely as the last of them"
        return [f"in {bounded:,}{of} texts the less likely word {what}"] if bounded else []

    async def ask(self, post: Asks, pair: Pair) -> Likely:
        """The first token's likeliest."""
        content = filled(self.question, prompt=pair.prompt, response=pair.response)
        likely: Likely = await post({**self.fields, "messages": [{"role": "user", "content": content}]})
        return likely

    def read(self, likely: Likely) -> float | None:
        """Log-odds; None where neither word is among the tokens told."""
        if not likely:
            self.counts["no_logprobs"] += 1
            return None
        yes, no = (self._of(words, likely) for words in (self.yes, self.no))
        if yes is None and no is None:
            self.counts["neither"] += 1
            self.example = likely[0][0]
            return None
        least = min(logprob for _, logprob in likely)
        self.counts.update(["bounded"] if yes is None or no is None else [])
        return (least if yes is None else yes) - (least if no is None else no)

    def _of(self, words: Sequence[str], likely: Likely) -> float | None:
        """Log-probability of some of the words; None where none of them is among the tokens."""
        found = [logprob for token, logprob in likely if token.strip() in words]
        if not found:
            return None
        most = max(found)
        return most + math.log(sum(math.exp(one - most) for one in found))


def likely_first(content: bytes) -> Likely:
    """The first token's likeliest, the likeliest first; none where the server tells none. ValueError: no completion."""
    try:
        (choice, *_) = json.loads(content)["choices"]
        if choice.get("finish_reason") in BROKEN_OFF:
            raise ValueError("it was broken off")
        tokens = (choice.get("logprobs") or {}).get("content") or [{}]
        told = [(str(one["token"]), one["logprob"]) for one in tokens[0].get("top_logprobs") or []]
    except (AttributeError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"no chat completion: {error}") from None
    known = [(token, float(p)) for token, p in told if isinstance(p, int | float) and math.isfinite(p)]
    return sorted(known, key=lambda one: -one[1])
