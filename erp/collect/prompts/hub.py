"""Prompts of a dataset on the Hugging Face hub, or in a local folder that ``datasets`` can load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from erp.collect.prompts.rows import RowPrompts, Send
from erp.errors import ErpError
from erp.table.asked import DEFAULT_RULE, PromptFrom
from erp.table.readers.base import Choose, Row


class HubDataset(RowPrompts):
    """Prompts from any dataset that ``datasets.load_dataset`` reads.

    Args:
        dataset: hub id, or a folder.
        split: of the dataset, e.g. ``train`` or ``test[:10%]`` (slices need ``streaming=false``).
        config_name: which of the dataset's configurations, where it has several.
        revision: branch, tag or commit; give a commit for prompts that never change.
        columns: our name -> the dataset's, of prompt, prompt_id, category, group, split, reference; null for our own
            name. ``columns.split`` is a column; ``split`` is where its rows come from.
        prompt_from: which text stands for a conversation in the table: its ``last_user`` or ``first_user`` turn, or all
            of the ``conversation``.
        send: what members are sent of a conversation: the ``conversation``, which ends in a user's turn, or that
            ``prompt`` alone.
        streaming: read over the network as far as needed, and keep nothing on disk; false downloads into the cache.
        limit: prompts to keep; None for all.
        seed: None keeps the first ``limit``; a number draws a sample, categories in proportion, and reads everything.
    """

    def __init__(
        self,
        dataset: str,
        split: str = "train",
        config_name: str | None = None,
        revision: str | None = None,
        columns: dict[str, str | None] | None = None,
        prompt_from: PromptFrom = DEFAULT_RULE,
        send: Send = "conversation",
        streaming: bool = True,
        limit: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__("prompts.dataset", dataset, columns, prompt_from, send, limit, seed)
        self.fixed = not Path(dataset).exists()
        self.split = split
        self.config_name = config_name
        self.revision = revision
        self.streaming = streaming

    def rows(self) -> Iterator[Row]:
        """The dataset's rows."""
        return hub_rows(self.source, self.split, self.config_name, self.revision, self.streaming, self.chosen)


def hub_rows(
    dataset: str, split: str, config_name: str | None, revision: str | None, streaming: bool, choose: Choose
) -> Iterator[Row]:
    """Rows of a dataset, one by one, with the columns that ``choose`` names. Raises ErpError."""
    import datasets  # here, because it is slow to import

    try:
        data = datasets.load_dataset(dataset, config_name, split=split, revision=revision, streaming=streaming)
        if data.column_names is not None:  # a stream may not know them before its first row
            data = data.select_columns(choose(data.column_names))
        for number, row in enumerate(data):
            yield f"row {number}", row
    except ErpError:
        raise
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ErpError(
            f"prompts.dataset = {dataset}: split {split} cannot be read ({reason}); "
            "check the name, the split, prompts.config_name and the network"
        ) from error
