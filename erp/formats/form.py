"""What every kind of file shares: its number under ``format``, and a function from each form to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from erp.errors import ErpError

NUMBER = "format"
"""The key that says which form a file is of; without it, a file is of form 0."""

Migration = Callable[[Mapping[str, Any]], dict[str, Any]]


class Form:
    """One kind of file.

    Args:
        *migrations: the n-th makes form n + 1 of what is of form n, and leaves what it is given as it is.
        name: what stood under ``format`` before numbers did: form 0 too.
    """

    def __init__(self, *migrations: Migration, name: str | None = None) -> None:
        self._migrations: Sequence[Migration] = migrations
        self._name = name

    @property
    def number(self) -> int:
        """Of the form that is written today."""
        return len(self._migrations)

    def numbered(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Content of today's form as it is written: the number first."""
        return {NUMBER: self.number, **content}

    def read(self, content: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The content as it would be written today, without its number. Nothing on disk changes.

        Args:
            content: of the file.
            where: which file that is, for an error.

        Raises:
            ErpError: it was written by a newer erp, or its number is none.
        """
        form = content.get(NUMBER, 0)
        form = 0 if self._name is not None and form == self._name else form
        if isinstance(form, bool) or not isinstance(form, int) or form < 0:
            raise ErpError(f"{where}: {NUMBER} = {str(form)[:60]}: is no number of a form; restore the file")
        if form > self.number:
            raise ErpError(
                f"{where}: made by a newer erp ({NUMBER} {form}; this one reads up to {self.number}); "
                "install a newer erp"
            )
        found = {key: value for key, value in content.items() if key != NUMBER}
        for migration in self._migrations[form:]:
            found = migration(found)
        return found


def as_it_was(content: Mapping[str, Any]) -> dict[str, Any]:
    """For a form that differs from the one before by its number alone."""
    return dict(content)
