"""Reading a reward table: a folder, or one long file. Both end in the same checked rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from erp.errors import ErpError, shorten
from erp.table.arrange import Copies
from erp.table.asked import DEFAULT_RULE, PromptFrom
from erp.table.collected import collected_table
from erp.table.folder import is_folder_form
from erp.table.foreign import import_hint
from erp.table.long import Source, long_rows
from erp.table.rows import checked_table
from erp.table.schema import RewardTable
from erp.table.source import TableSource

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_table(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    reward_model: str | None = None,
    copies: Copies = "error",
    prompt_from: PromptFrom | None = None,
    config_name: str | None = None,
) -> RewardTable:
    """Read and check a reward table.

    Args:
        path: A folder with a manifest.json; long .parquet, .jsonl, .ndjson, .json, .csv or .tsv files, packed or not:
            one, a folder of them or a pattern, here or where fsspec reaches; hf://datasets/<owner>/<name>[:split].
        columns: Our column name -> the file's, for a long file with other names.
        reward_model: Which reward model's scores to read; None = the only one there is.
        copies: What becomes of rows that repeat an earlier one where no `sample` column numbers them: error, fold (each
            is read once) or keep (they are samples).
        prompt_from: What is asked of a conversation; None = as the table was collected, else its last user turn.
        config_name: Which configuration of a dataset of the hub, where it has several.

    Raises:
        ErpError: Every fault of the table, by row and column; or the path, the columns or the reward model do not fit.
    """
    source = str(path)
    if is_folder_form(source):
        if columns:
            raise ErpError(
                f"data.columns = {shorten(columns)}: a folder has fixed column names; "
                "allowed with a long file only; leave data.columns out"
            )
        return collected_table(Path(path), reward_model, copies, prompt_from)
    rule = prompt_from or DEFAULT_RULE
    long = Source(source, columns or {}, config_name)
    try:
        rows = long_rows(long, rule)
    except ErpError as error:
        hint = import_hint(source)
        raise ErpError(*error.faults, *([f"{long.named}: {hint}"] if hint else [])) from None
    return checked_table(
        rows.batches, rows.chosen, long.named, table=source, reward_model=reward_model, copies=copies,
        prompt_from=rule, notes=rows.notes,
    )  # fmt: skip


class TableFiles(TableSource):
    """A reward table on disk, in an object store or on the hub: a collected folder, or long files.

    Args:
        path: as in `read_table`, as are the others.
        copies: what becomes of rows that repeat an earlier one.
        columns: our column name -> the file's; null for our own name.
        prompt_from: what is asked of a conversation; null: as the table was collected, else its last user turn.
        config_name: which configuration of a dataset of the hub.
        observational: whether a router may be trained on a table whose prompts were each answered by whom somebody
            chose for them.
    """

    def __init__(
        self,
        path: str,
        copies: Copies = "error",
        columns: dict[str, str | None] | None = None,
        prompt_from: PromptFrom | None = None,
        config_name: str | None = None,
        observational: bool = False,
    ) -> None:
        self.observational = observational
        self.path = path
        self.copies = copies
        self.columns = {ours: theirs for ours, theirs in (columns or {}).items() if theirs is not None}
        self.prompt_from = prompt_from
        self.config_name = config_name

    def folder(self) -> Path | None:
        """The path, where the folder form lies there."""
        return Path(self.path) if is_folder_form(self.path) else None

    def read(self, reward_model: str | None = None, prompt_from: PromptFrom | None = None) -> RewardTable:
        """The table of one reward model. Raises ErpError as `read_table`, and where a router is asked otherwise."""
        if prompt_from is not None and self.prompt_from not in (None, prompt_from):
            raise ErpError(
                f"data.prompt_from = {self.prompt_from}: the run was trained on {prompt_from}, which goes on; "
                "leave it out"
            )
        return read_table(
            self.path, columns=self.columns, reward_model=reward_model, prompt_from=prompt_from or self.prompt_from,
            config_name=self.config_name, copies=self.copies,
        )  # fmt: skip
