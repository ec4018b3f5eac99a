"""A reward model behind an address: vLLM, SGLang or text-embeddings-inference."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from erp.collect.rewards.base import Pair, RewardAdapter
from erp.collect.rewards.local import LocalRewardModel
from erp.collect.rewards.pair import PairEncoder
from erp.collect.rewards.sequence import SequenceClassifier
from erp.collect.rewards.window import DATE, opened
from erp.engines.base import Failure
from erp.engines.chat_answers import Endpoint
from erp.engines.chat_api import Asks, ChatAPI, together
from erp.engines.chat_session import Body, Unanswered
from erp.errors import ErpError
from erp.files import whole_text

LOOKED_AT = 16  # scores; as many within [0, 1] are no chance where a model was asked for its logits


@dataclass(frozen=True)
class Text:
    """What is sent of a pair: token ids, the two texts, or the conversation for the server's own template."""

    place: int
    sent: Any
    cut: tuple[str, ...] = ()


@dataclass(frozen=True)
class API:
    """How a server is asked. ``fields`` lays texts out; ``numbers`` finds those of each text in the answer."""

    path: str
    local: type[LocalRewardModel]  # whose input the server takes
    fields: Callable[[list[Any]], Body]
    numbers: Callable[[Any], list[Any]]


def _in_order(answer: Any) -> list[Any]:
    return sorted(answer["data"], key=lambda item: item["index"])


def _last(numbers: list[Any]) -> Any:
    """A token's numbers each, or those of the one that counts."""
    return numbers[-1] if isinstance(numbers[0], list) else numbers


RAW = {"use_activation": False}  # the logit itself: neither sigmoid nor softmax
APIS = {
    "vllm_classify": API(
        "/classify",
        SequenceClassifier,
        lambda texts: {"input": texts, **RAW},
        lambda answer: [item["probs"] for item in _in_order(answer)],
    ),
    "vllm_pooling": API(
        "/pooling",
        SequenceClassifier,
        lambda texts: {"input": texts, **RAW},
        lambda answer: [_last(item["data"]) for item in _in_order(answer)],
    ),
    "vllm_score": API(
        "/score",
        PairEncoder,
        lambda texts: {"text_1": [text[0] for text in texts], "text_2": [text[1] for text in texts], **RAW},
        lambda answer: [[item["score"]] for item in _in_order(answer)],
    ),
    "sglang": API(
        "/classify",
        SequenceClassifier,
        lambda texts: {"input_ids": texts},
        lambda answer: [item["embedding"] for item in answer],
    ),
    "tei": API(
        "/predict",
        PairEncoder,
        lambda texts: {"inputs": texts, "raw_scores": True, "truncate": False},
        lambda answer: [[label["score"] for label in labels] for labels in answer],
    ),
}


class ServedRewardModel(RewardAdapter):
    """Scores by a reward model that a server holds: several pairs a call, many calls at once.

    The server is sent what the same model would be fed here. Sequence classifiers (``vllm_classify``, ``vllm_pooling``,
    ``sglang``) get the token ids of the conversation in its template, with exactly one beginning-of-sequence token;
    pair encoders (``vllm_score``, ``tei``) get the two texts. The score is the logit itself.

    Counts: ``truncated`` and ``prompt_truncated`` as for models that run here, ``non_finite``: a missing score.

    Args:
        model: what the server calls it.
        api: the server's, and which of its endpoints: vLLM's ``/classify`` or, for classes of reward models that it
            does not convert, ``/pooling`` (``vllm serve <model> --runner pooling``), or ``/score`` for pair encoders;
            SGLang's ``/classify`` (``--is-embedding``); text-embeddings-inference's ``/predict``.
        base_url: address, without a path of these.
        tokenizer: hub id or folder of the model's tokenizer; its weights are not read. None where it is not at hand:
            vLLM then applies its own template, one conversation a call, and nothing is cut here, so that texts which
            are too long for the server fail.
        revision: of the tokenizer's repository.
        max_tokens: longer texts lose the end of the response; no more than the server takes.
        chat_template: Jinja text in place of the tokenizer's own.
        system: what stands before conversations that have no system message of their own.
        batch: pairs a call.
        unit_scores: whether the model's own scores lie from 0 to 1. Otherwise such scores are taken for probabilities
            that the server made of them, and refused.
        api_key_env: environment variable with the key; none is sent where it is empty.
        concurrency: calls at once.
        timeout_s: of one attempt.
        retries: attempts after the first.
        backoff_s: wait before the second attempt; doubled at every further one.
        backoff_max_s: longest wait, unless the server asks for a longer one.
    """

    reads_references = False

    def __init__(
        self,
        model: str,
        api: Literal["vllm_classify", "vllm_pooling", "vllm_score", "sglang", "tei"] = "vllm_classify",
        base_url: str = "http://localhost:8000",
        tokenizer: str | None = None,
        revision: str | None = None,
        max_tokens: int = 4096,
        batch: int = 16,
        unit_scores: bool = False,
        api_key_env: str | None = None,
        concurrency: int = 32,
        timeout_s: float = 600.0,
        retries: int = 6,
        backoff_s: float = 1.0,
        backoff_max_s: float = 60.0,
        chat_template: str | None = None,
        system: str | None = None,
    ) -> None:
        super().__init__()
        if batch < 1:
            raise ErpError(f"reward_model.batch = {batch}: give 1 or more")
        if tokenizer is None and api == "sglang":
            raise ErpError(
                "reward_model.tokenizer = null: SGLang's /classify applies no template; give a hub id or folder"
            )
        if tokenizer is None and chat_template is not None:
            raise ErpError(
                "reward_model.chat_template: the server applies its own where no tokenizer is given; leave it out, or "
                "give reward_model.tokenizer"
            )
        self.model, self.api, self.batch, self.unit_scores = model, api, batch, unit_scores
        self._how = APIS[api]
        self._calls = ChatAPI(
            "reward_model", base_url, api_key_env, concurrency, timeout_s, retries, backoff_s, backoff_max_s,
            Endpoint(self._how.path, self._read, "scores"),
        )  # fmt: skip
        local = self._how.local(tokenizer or model, max_tokens, revision, chat_template=chat_template, system=system)
        self._local, self.chat_template, self.system = None if tokenizer is None else local, chat_template, system
        self._loaded, self._logits, self._stopped = False, unit_scores, False

    def look_in(self, weights_dir: str | None) -> None:
        """Say where a tokenizer already on disk may lie."""
        if self._local is not None:
            self._local.look_in(weights_dir)

    def about(self) -> dict[str, Any]:
        """Model, tokenizer, window and how the server is asked."""
        local = {} if self._local is None else self._local.about()
        return {
            "base_url": self._calls.base_url, "api": self.api, "model": self.model, "tokenizer": local.get("model"),
            "revision": local.get("revision"), "max_tokens": local.get("max_tokens"),
            **({} if self.chat_template is None else {"chat_template": self.chat_template}),
            **({} if self.system is None else {"system": self.system}),
        }  # fmt: skip

    def notes(self, counts: Mapping[str, int], scored: int | None) -> list[str]:
        """How many texts were cut here; what the server cuts is not known."""
        return [] if self._local is None else self._local.notes(counts, scored)

    def score(self, pairs: Sequence[Pair]) -> list[float | Failure | None]:
        """The server's number for each pair, in order; None where it is not finite."""
        scores = dict(self.each(pairs))
        return [scores[index] for index in range(len(pairs))]

    def each(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, float | Failure | None]]:
        """Position and score of each pair as answers come; those from 0 to 1 once they are seen to be logits.

        Where it is stopped before that, they are not given: another look may find them to be probabilities.
        """
        if self._local is not None and not self._loaded:
            self._local.load_tokenizer()
            self._loaded = True
        held: list[tuple[Text, float | Failure | None]] = []
        for _, scored in self._calls.each(self._batches(pairs), self._scored):
            held += [] if isinstance(scored, Failure) else scored
            if self._seen_to_be_logits(held):
                yield from self._counted(held)
                held = []
        if self._seen_to_be_logits(held) or not self._stopped:
            yield from self._counted(held)

    def stop(self) -> bool:
        """Leave the calls under way."""
        self._stopped = True
        self._calls.stop()
        return True

    def _batches(self, pairs: Sequence[Pair]) -> Iterator[list[Text]]:
        """What is sent in each call, tokenised when it is to be sent."""
        size = 1 if self._local is None and self._how.local is SequenceClassifier else self.batch
        for start in range(0, len(pairs), size):
            yield [self._text(start + i, pair) for i, pair in enumerate(pairs[start : start + size])]

    def _text(self, place: int, pair: Pair) -> Text:
        if self._local is None:
            turns = [{**turn, "content": whole_text(turn["content"])} for turn in opened(pair.turns, self.system)]
            asked = turns if self._how.local is SequenceClassifier else whole_text(pair.prompt)
            return Text(place, [asked, whole_text(pair.response)])
        fitted = self._local.fitted(pair)
        pair_of_texts = [fitted.prompt, fitted.response]
        return Text(
            place, pair_of_texts if self._how.local is PairEncoder else list(fitted.row["input_ids"]), fitted.cut
        )

    def _body(self, texts: Sequence[Text]) -> Body:
        sent = [text.sent for text in texts]
        if self._local is None and self._how.local is SequenceClassifier:
            ((turns, response),) = sent
            turns = [*turns, {"role": "assistant", "content": response}]
            return {"model": self.model, "messages": turns, "chat_template_kwargs": {"date_string": DATE}, **RAW}
        return {"model": self.model, **self._how.fields(sent)}

    async def _scored(self, asks: Asks, texts: list[Text]) -> list[tuple[Text, float | Failure | None]]:
        try:
            answer = await asks(self._body(texts))
        except Unanswered as reason:
            if reason.refused and len(texts) > 1:  # one of them, maybe: it is too long
                alone = await together(self._scored(asks, [text]) for text in texts)
                return [scored for each in alone for scored in each]
            return [(text, reason.failure()) for text in texts]
        if len(answer) != len(texts):
            raise self._no_scores(
                f"gives {len(answer)} scores for {len(texts)} texts; ask the server's other endpoints"
            )
        return list(zip(texts, map(self._one, answer), strict=True))

    def _read(self, content: bytes) -> list[list[Any]]:
        """The numbers of each text in an answer."""
        try:
            return [list(numbers) for numbers in self._how.numbers(json.loads(content))]
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"no scores: {error}") from None

    def _one(self, numbers: list[Any]) -> float | None:
        """A text's score; JSON has no NaN, which servers send as null."""
        if len(numbers) != 1:
            raise self._no_scores(
                f"gives {len(numbers)} numbers for a text, as a classifier of so many labels does (or their "
                f"probabilities); serve a reward model, which has one"
            )
        (number,) = numbers
        if number is None or isinstance(number, int | float):
            return None if number is None or not math.isfinite(number) else float(number)
        raise self._no_scores(f"gives {str(number)[:40]!r} for a score; give the api of the server that runs there")

    def _seen_to_be_logits(self, held: Sequence[tuple[Text, float | Failure | None]]) -> bool:
        """Whether scores were seen that are no probabilities. Raises ErpError where enough are, or may be."""
        numbers = [score for _, score in held if isinstance(score, float)]
        self._logits = self._logits or any(not 0 <= one <= 1 for one in numbers)
        ones = len(numbers) > 1 and set(numbers) == {1.0}  # what softmax makes of a single logit
        if not self._logits and (ones or len(numbers) >= LOOKED_AT):
            raise self._no_scores(
                f"gives nothing but numbers from 0 to 1 ({len(numbers)} of them): these are probabilities, no logits; "
                f"use a release of the server that can leave its activation out, or say reward_model.unit_scores=true "
                f"where the model itself scores from 0 to 1"
            )
        return self._logits

    def _counted(
        self, scored: Sequence[tuple[Text, float | Failure | None]]
    ) -> Iterator[tuple[int, float | Failure | None]]:
        for text, score in scored:
            if not isinstance(score, Failure):
                self.counts.update(text.cut)
                self.counts.update(["non_finite"] if score is None else [])
            yield text.place, score

    def _no_scores(self, what: str) -> ErpError:
        address = f"{self._calls.base_url}{self._how.path}"
        return ErpError(f"reward_model.api = {self.api}: {self.model} at {address} {what}")
