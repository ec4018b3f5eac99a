"""The paper's prompts: first human turns of open-perfectblend, a stratified sample of them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from tqdm import tqdm

from erp.collect.prompts.base import Prompt, PromptSet
from erp.collect.prompts.hub import hub_rows
from erp.collect.prompts.selection import Balance, Draw, check_limit
from erp.errors import ErpError, shorten
from erp.table.readers.base import Row
from erp.table.shards import shards

DATASET = "mlabonne/open-perfectblend"
ROWS = 1_420_909
REPHRASED = "meta-math/MetaMathQA"
COARSE = {
    REPHRASED: "math",
    "openbmb/UltraInteract_sft": "reasoning",
    "mlabonne/ultrachat_200k_sft": "chat",
    "HuggingFaceH4/orca-math-word-problems-200k": "math",
    "HuggingFaceH4/ultrafeedback_binarized": "chat",
    "theblackcat102/evol-codealpaca-v1": "code",
    "Post-training-Data-Flywheel/AutoIF-instruct-61k": "instruction_following",
    "mlabonne/lmsys-arena-human-preference-55k-sharegpt": "chat",
}


class OpenPerfectBlend(PromptSet):
    """First human turns of ``mlabonne/open-perfectblend`` (1,420,909 conversations, Apache-2.0), as in the paper.

    The whole dataset is streamed once. Left out, and counted in ``notes``: rows whose first human turn is not there or
    empty, texts that are too short or too long, repeats of a text. Of the rest ``limit`` are drawn; the
    sample depends on the dataset's content and the seed, not on the order of its rows. System turns are dropped.

    Near-duplicates are not looked for: ``group`` stays null. MetaMathQA rephrases about 15 thousand questions many
    times and UltraInteract repeats instructions, so a random split of these prompts puts near-duplicates on both sides.

    Args:
        dataset: hub id.
        revision: branch, tag or commit; give a commit for prompts that never change.
        path: files of the same columns, read in place of the hub: parquet or JSON lines, a file, a folder of parquet
            files or a pattern with ``*``; local or of any fsspec protocol.
        limit: prompts to draw; None for all, in random order; they wait in ``TMPDIR``.
        seed: of the draw.
        min_chars: shorter prompts are left out.
        max_chars: longer prompts are left out; None for no cap. 8,000 characters and an answer of 1,024 tokens fit the
            8,192 tokens of Gemma 1 and 2 in most languages.
        category: ``source``, the dataset's own column; or ``coarse``: math, reasoning, chat, code,
            instruction_following, and other for a source that is not known here.
        balance: ``proportional`` to what each category holds, or ``equal``.
    """

    def __init__(
        self,
        dataset: str = DATASET,
        revision: str | None = None,
        path: str | None = None,
        limit: int | None = None,
        seed: int = 0,
        min_chars: int = 1,
        max_chars: int | None = 8000,
        category: Literal["source", "coarse"] = "source",
        balance: Balance = "proportional",
    ) -> None:
        super().__init__()
        check_limit(limit)
        if max_chars is not None and max_chars < max(min_chars, 1):
            raise ErpError(f"prompts.max_chars = {max_chars}: give 1 or more and no less than min_chars = {min_chars}")
        self.dataset, self.revision, self.path = dataset, revision, path
        self.fixed = path is None
        self.limit, self.seed, self.balance = limit, seed, balance
        self.min_chars, self.max_chars = min_chars, max_chars
        self.category = category

    def prompts(self) -> Iterator[Prompt]:
        """The sample, in random order. Raises ErpError for a source that cannot be read or has another schema."""
        draw = Draw(self.limit, self.seed, self.balance)
        counts: Counter[str] = Counter()
        unknown: Counter[str] = Counter()
        bar = tqdm(
            self._rows(),
            desc="reading open-perfectblend",
            unit="row",
            total=ROWS if self.path is None and self.dataset == DATASET else None,
            disable=not sys.stderr.isatty(),
        )
        for place, row in bar:
            counts["rows"] += 1
            source = row["source"]
            if source not in COARSE:
                unknown[str(source)] += 1
            text = self._first_human_turn(place, row["conversations"])
            if not text:
                counts["empty"] += 1
            elif len(text) < self.min_chars:
                counts["short"] += 1
            elif self.max_chars is not None and len(text) > self.max_chars:
                counts["long"] += 1
            else:
                draw.add(Prompt(text, category=self._category(source)))
        yield from draw.drawn()
        self.notes[:] = self._notes(draw, counts, unknown)

    def _rows(self) -> Iterator[Row]:
        if self.path is None:
            return hub_rows(self.dataset, "train", None, self.revision, True, self._columns)
        files = shards(self._named(), self.path, ("parquet", "json"))
        found = files[0].reader.every_row(self._named(), files, self._columns)
        return ((place, self._complete(place, row)) for place, row in found)

    def _columns(self, present: Sequence[str]) -> list[str]:
        wanted = ["conversations", "source"]
        if lacking := [name for name in wanted if name not in present]:
            raise ErpError(
                f"{self._named()}: no column {', '.join(lacking)}; its columns are {shorten(present, 20)}; "
                "give a dataset of open-perfectblend's columns, or read this one with prompts=hf, parquet or jsonl"
            )
        return wanted

    def _complete(self, place: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            self._columns(list(row))
        except ErpError as error:
            raise ErpError(f"{error.faults[0]} ({place})") from None
        return row

    def _first_human_turn(self, place: str, turns: Any) -> str:
        """The first human turn, stripped; "" where there is none."""
        fault = f"{self._named()}: {place}, column conversations"
        if turns is not None and not isinstance(turns, list):
            raise ErpError(f"{fault}: is a {type(turns).__name__}; give a list of {{from, value}}")
        for turn in turns or []:
            if not isinstance(turn, Mapping):
                raise ErpError(f"{fault}: a turn is a {type(turn).__name__}; give {{from, value}}")
            if turn.get("from") == "human":
                text = turn.get("value") or ""
                if not isinstance(text, str):
                    raise ErpError(f"{fault}: a turn's value is a {type(text).__name__}; give a text")
                return text.strip()
        return ""

    def _category(self, source: str | None) -> str | None:
        return COARSE.get(str(source), "other") if self.category == "coarse" else source

    def _named(self) -> str:
        return f"prompts.dataset = {self.dataset}" if self.path is None else f"prompts.path = {self.path}"

    def _notes(self, draw: Draw, counts: Mapping[str, int], unknown: Mapping[str, int]) -> list[str]:
        of_rows = f"of {counts['rows']:,} rows"
        strange = f"come from sources that are not known here ({shorten(sorted(unknown))})"
        called = "their coarse category is other" if self.category == "coarse" else "the source is their category"
        shares = ", ".join(f"{name or 'none'} {share:,}" for name, share in draw.shares().items())
        repeats, strangers = draw.repeats, sum(unknown.values())
        told = {
            f"{counts['empty']:,} {of_rows} have no human turn with a text and are left out": counts["empty"],
            f"{counts['short']:,} {of_rows} are under {self.min_chars:,} characters and left out": counts["short"],
            f"{counts['long']:,} {of_rows} are over {self.max_chars or 0:,} characters and left out": counts["long"],
            f"{repeats:,} {of_rows} repeat a prompt's text and are left out": repeats,
            f"{strangers:,} {of_rows} {strange}; {called}": strangers,
            f"{sum(draw.shares().values()):,} of {sum(draw.sizes().values()):,} prompts were drawn (seed {self.seed}, "
            f"{self.balance}): {shares}": True,
            f"{REPHRASED} rephrases a question many times; group is null: near-duplicates are for the table's split": (
                draw.shares().get(REPHRASED, 0) or draw.shares().get("math", 0)
            ),
        }
        return [note for note, told_of in told.items() if told_of]
