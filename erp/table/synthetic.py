"""A reward table drawn from a generator whose truth is known: for tests, demonstrations and what is attainable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from erp.errors import ErpError
from erp.table.asked import PromptFrom
from erp.table.schema import PROMPT_COLUMNS, RewardTable, with_missing_note
from erp.table.source import TableSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TOPICS = {
    "chat": "birthday coffee dinner family friend garden guitar holiday kitchen letter market morning movie music"
    " neighbour party picnic puppy recipe summer tennis travel wedding winter",
    "code": "array binary buffer cache class compiler cursor database debug function integer iterator kernel loop"
    " module parser pointer queue recursion regex server stack string thread",
    "math": "algebra angle average circle cube derivative divisor equation fraction geometry integral matrix"
    " multiply number percent polygon prime probability proof quotient radius ratio theorem triangle",
    "writing": "adjective author chapter character comma dialogue draft editor essay fable grammar headline irony"
    " journal metaphor narrator novel paragraph plot poem rhyme sonnet stanza verse",
}
_WORDS = np.array([word for words in _TOPICS.values() for word in words.split()])
_PER_TOPIC = 24
_OWN_WORDS, _OTHER_WORDS = 9, 3  # of its own topic and of the others, in every prompt: all distinct
_TOPIC_EFFECT = 0.3  # sd of a topic's effect against a word's: about four tenths of the variance lie between topics
_DIFFICULTY_SD, _MEMBER_SD = 1.0, 0.7  # of the linear part: shared by all members, and each member's own
_SIZES = (1, 3, 8, 14, 32, 70, 123, 235, 405, 671, 1000, 1500, 2200, 3300, 5000, 7500)  # 10^9 parameters
_STREAMS = ("effects", "prompts", "hidden", "noise", "tokens", "missing")


@dataclass(frozen=True, eq=False)
class Truth:
    """What the table was drawn from; rows as in its prompts, columns as in its members.

    Attributes:
        expected_reward: mu (N, M).
        linear: The part of mu that is linear in the bag of words (N, M), the member's mean included.
        r2_ceiling_linear: Population R^2 of `linear` against the means of K samples, the same for every member; in
            closed form, 0 where nothing varies.
    """

    expected_reward: NDArray[np.float64]
    linear: NDArray[np.float64]
    r2_ceiling_linear: float


@dataclass(frozen=True)
class Synthetic(TableSource):
    """A table of pseudo-prompts: twelve distinct words, nine of them from one of four topics.

    mu_im = beta_m + signal * (a_i + .7 u_im) + hidden * v_im and y ~ N(mu_im, noise^2), with a and u sums of word
    effects of variance 1 over the population of prompts, u of every member uncorrelated with a, and v ~ N(0, 1). Larger
    members have the larger beta and cost more. With signal = hidden = 0 nothing depends on the prompt.

    Attributes:
        prompts: N.
        members: M, up to 16.
        samples: K per cell.
        seed: Of everything; word effects depend on it alone, and the first prompts stay when N grows.
        signal: Scale of what the words determine, reward units.
        hidden: Standard deviation of what no function of the words determines, reward units.
        noise: Standard deviation of one sample about its expectation, reward units.
        spread: Standard deviation of beta over the members, reward units; 0 = all members are equally good on average.
        categories: Whether the topic is given as the prompt's category.
        missing: Share of cells dropped at random; every prompt keeps one.
    """

    prompts: int = 2000
    members: int = 5
    samples: int = 4
    seed: int = 0
    signal: float = 1.0
    hidden: float = 0.7
    noise: float = 1.5
    spread: float = 0.35
    categories: bool = True
    missing: float = 0.0

    def __post_init__(self) -> None:
        """Raises ErpError: a number out of range."""
        _check(self)

    def read(self, reward_model: str | None = None, prompt_from: PromptFrom | None = None) -> RewardTable:
        """The table; it has one reward model. No prompt of it is a conversation."""
        del prompt_from
        table, _ = self.draw()
        if reward_model not in (None, table.reward_model):
            raise ErpError(f"reward_model.name = {reward_model}: data=synthetic has only {table.reward_model}")
        return table

    def draw(self) -> tuple[RewardTable, Truth]:
        """The table, and what it was drawn from."""
        prompts, members = self.prompts, self.members
        rng = {name: np.random.default_rng([self.seed, stream]) for stream, name in enumerate(_STREAMS)}
        names = [f"synthetic-{size}b" for size in _SIZES[:members]]
        topic, words = _draw_prompts(prompts, rng["prompts"])
        beta = self.spread * _standard_grid(members)
        effects, centre = _word_effects(members, rng["effects"])  # (96, 1 + M), (1 + M,)
        scores = effects[words].sum(axis=1) - centre
        linear = beta + self.signal * (_DIFFICULTY_SD * scores[:, :1] + _MEMBER_SD * scores[:, 1:])
        mu = linear + self.hidden * rng["hidden"].standard_normal((prompts, members))
        reward = mu[:, :, None] + self.noise * rng["noise"].standard_normal((prompts, members, self.samples))
        explained = self.signal**2 * (_DIFFICULTY_SD**2 + _MEMBER_SD**2)
        total = explained + self.hidden**2 + self.noise**2 / self.samples
        order = np.array(sorted(range(members), key=names.__getitem__), dtype=np.int64)  # members of a table go by name
        drawn = _rows(reward, rng["tokens"])
        keep = _kept_cells(prompts, members, self.missing, rng["missing"])
        frame = _in_order(drawn[keep[drawn["prompt"], drawn["member"]]], order)
        texts = {
            "prompt_id": [f"synthetic-{i:07d}" for i in range(prompts)],
            "prompt": [" ".join(row) for row in _WORDS[words]],
            "category": [list(_TOPICS)[t] if self.categories else None for t in topic],
        }
        prompt_frame = pd.DataFrame({c: texts.get(c, [None] * prompts) for c in PROMPT_COLUMNS}, dtype=object)
        table = RewardTable(prompt_frame, frame, tuple(names[m] for m in order), "synthetic")
        truth = Truth(mu[:, order], linear[:, order], float(explained / total) if total > 0 else 0.0)
        return with_missing_note(table), truth


def _check(asked: Synthetic) -> None:
    scales = {name: getattr(asked, name) for name in ("signal", "hidden", "noise", "spread")}
    most = {"prompts": 10**6, "members": len(_SIZES), "samples": 10**4}
    allowed = {
        **{name: (1 <= getattr(asked, name) <= top, f"1 to {top:,}") for name, top in most.items()},
        **{name: (0 <= value < np.inf, "a number of at least 0") for name, value in scales.items()},
        "seed": (asked.seed >= 0, "a number of at least 0"),
        "missing": (0 <= asked.missing < 1, "0 to below 1"),
    }
    if faults := [
        f"data.{name} = {getattr(asked, name)}: out of range; allowed is {range_}; change it"
        for name, (fits, range_) in allowed.items() if not fits
    ]:  # fmt: skip
        raise ErpError(*faults)


def _standard_grid(members: int) -> NDArray[np.float64]:
    """Evenly spaced numbers of mean 0 and standard deviation 1 (M,), ascending; 0 for one member."""
    grid = np.arange(members) - (members - 1) / 2
    return np.asarray(grid / grid.std() if members > 1 else grid)


def _draw_prompts(prompts: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Topic (N,) and words (N, 12) of every prompt, in random order; one row of random numbers per prompt."""
    size = len(_WORDS)
    draws = rng.random((prompts, 1 + size + _OWN_WORDS + _OTHER_WORDS))
    topic = (draws[:, 0] * len(_TOPICS)).astype(np.int64)
    own = np.arange(size) // _PER_TOPIC == topic[:, None]
    of_own = np.argsort(np.where(own, draws[:, 1 : 1 + size], 2.0), axis=1)[:, :_OWN_WORDS]
    of_others = np.argsort(np.where(own, 2.0, draws[:, 1 : 1 + size]), axis=1)[:, :_OTHER_WORDS]
    words = np.concatenate([of_own, of_others], axis=1)
    return topic, np.take_along_axis(words, np.argsort(draws[:, 1 + size :], axis=1), axis=1)


def _population() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (96,) and covariance (96, 96) of the bag of words over the population of prompts, in closed form.

    Given the topic, words are drawn without replacement: a word is in with probability n/V, a pair with
    n(n-1)/(V(V-1)), and own and other words are independent.
    """
    size, topics = len(_WORDS), len(_TOPICS)
    topic_of = np.arange(size) // _PER_TOPIC
    n_others = size - _PER_TOPIC
    pair_own = _OWN_WORDS * (_OWN_WORDS - 1) / (_PER_TOPIC * (_PER_TOPIC - 1))
    pair_other = _OTHER_WORDS * (_OTHER_WORDS - 1) / (n_others * (n_others - 1))
    mean, second = np.zeros(size), np.zeros((size, size))
    for topic in range(topics):
        own = topic_of == topic
        inside = np.where(own, _OWN_WORDS / _PER_TOPIC, _OTHER_WORDS / n_others)
        both = np.outer(inside, inside)
        both[np.ix_(own, own)] = pair_own
        both[np.ix_(~own, ~own)] = pair_other
        np.fill_diagonal(both, inside)
        mean += inside / topics
        second += both / topics
    return mean, second - np.outer(mean, mean)


def _word_effects(members: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Effects of the words on difficulty and on every member (96, 1 + M), and their population means (1 + M,).

    Scaled to variance 1 over the population; the members' are made uncorrelated with the difficulty, so that every
    member's linear part has the same variance and the ceiling one closed form.
    """
    topic_of = np.arange(len(_WORDS)) // _PER_TOPIC
    raw = rng.standard_normal((1 + members, len(_WORDS))).T
    raw += _TOPIC_EFFECT * rng.standard_normal((1 + members, len(_TOPICS))).T[topic_of]
    mean, covariance = _population()
    raw[:, 0] /= np.sqrt(raw[:, 0] @ covariance @ raw[:, 0])
    raw[:, 1:] -= np.outer(raw[:, 0], raw[:, 0] @ covariance @ raw[:, 1:])
    raw[:, 1:] /= np.sqrt(np.einsum("wm,wv,vm->m", raw[:, 1:], covariance, raw[:, 1:]))
    return raw, mean @ raw


def _rows(reward: NDArray[np.float64], rng: np.random.Generator) -> pd.DataFrame:
    """One row per sample, with tokens and cost; members in order of size.

    A response's length is log-normal about a median of the member times a factor of the prompt. A token's price grows
    with the member's size to the power .8.
    """
    prompts, members, samples = reward.shape
    size = np.array(_SIZES[:members], dtype=np.float64)
    median = rng.uniform(100.0, 400.0, len(_SIZES))[:members]
    prompt_part = rng.standard_normal((prompts, 2))
    prompt_tokens = np.round(_OWN_WORDS + _OTHER_WORDS + 8 * np.exp(0.5 * prompt_part[:, 0]))
    spread = 0.4 * prompt_part[:, 1, None, None] + 0.4 * rng.standard_normal(reward.shape)
    completion_tokens = np.maximum(1.0, np.round(median[:, None] * np.exp(spread)))
    usd_per_mtok = 0.05 * size**0.8
    cost = usd_per_mtok[:, None] * (prompt_tokens[:, None, None] + 3 * completion_tokens) / 1e6
    at = np.indices(reward.shape).reshape(3, -1)
    return pd.DataFrame(
        {
            "prompt": at[0].astype(np.int64),
            "member": at[1].astype(np.int64),
            "sample": at[2].astype(np.int64),
            "reward": reward.ravel(),
            "n_samples": np.ones(reward.size, dtype=np.int64),
            "prompt_tokens": np.repeat(prompt_tokens, members * samples),
            "completion_tokens": completion_tokens.ravel(),
            "cost_usd": cost.ravel(),
        }
    )


def _kept_cells(prompts: int, members: int, missing: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which cells stay (N, M): each with probability 1 - missing, and one of every prompt at least."""
    draws = rng.random((prompts, members))
    keep = draws >= missing
    keep[np.arange(prompts), draws.argmax(axis=1)] = True
    return np.asarray(keep)


def _in_order(rows: pd.DataFrame, order: NDArray[np.int64]) -> pd.DataFrame:
    """Rows with members numbered by their place in `order`, sorted by prompt, member, sample."""
    rows = rows.assign(member=np.argsort(order)[rows["member"].to_numpy()])
    return rows.sort_values(["prompt", "member", "sample"], kind="stable").reset_index(drop=True)
