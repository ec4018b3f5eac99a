"""Which of several things is read: those that the user prefers, or the only one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from erp.errors import ErpError, shorten
from erp.importers.ledger import Ledger
from erp.table.columns import show

Shown = Callable[[str, str, str], list[str]]

EARLIER = "of an earlier run of the same task by the same member"


class Choice:
    """What the user said of one option, and what there was.

    Args:
        what: the option, ``metric`` of ``source.metric``.
        wanted: a name, several in order of preference, or None for the only one that there is.
    """

    def __init__(self, what: str, wanted: str | list[str] | None) -> None:
        self.what = what
        self.wanted = [wanted] if isinstance(wanted, str) else list(wanted or [])
        self._found: set[str] = set()

    @property
    def said(self) -> str:
        """As errors begin: ``source.metric = acc``."""
        return f"source.{self.what} = {', '.join(self.wanted) or 'null'}"

    def of(self, found: Sequence[str], where: str) -> str:
        """The one that is read of those found somewhere.

        Raises:
            ErpError: there are several and none is preferred, or there is none.
        """
        self._found |= set(found)
        for name in self.wanted:
            if name in found:
                return name
        if not found:
            raise ErpError(f"{self.said}: {where} has no {self.what}; give files of a run that was scored")
        if len(found) > 1:
            raise ErpError(
                f"{self.said}: {where} has several, {', '.join(found)}; choose with source.{self.what}=<name>, or in "
                f"order of preference with 'source.{self.what}=[<name>,<name>]'"
            )
        return found[0]

    def require_found(self) -> None:
        """Refuse a preference that nothing has. Raises ErpError: that."""
        if self._found and (lost := [name for name in self.wanted if name not in self._found]):
            raise ErpError(
                f"{self.said}: nothing has {shorten(lost)}; there are {shorten(sorted(self._found), 20)}; correct it"
            )


def compare_styles(
    styles: Mapping[str, Mapping[str, Mapping[str, object]]], same: bool, ledger: Ledger, examples: Shown | None = None
) -> None:
    """Refuse members that were asked a task in different ways, or note it.

    Args:
        styles: task -> member -> what stood around a question, by name.
        same: whether it is refused.
        ledger: is told where it is not.
        examples: shows for a task and two members what some documents were sent as.

    Raises:
        ErpError: they were, with examples for the first task.
    """
    told: list[str] = []
    shown: list[str] = []
    for task, of_members in styles.items():
        (first, style), *others = of_members.items()
        for member, other in others:
            differs = [name for name in {**style, **other} if style.get(name) != other.get(name)]
            if differs:
                had = [", ".join(_told(name, one.get(name)) for name in differs) for one in (style, other)]
                told.append(f"{first} was asked {task} with {had[0]}, {member} with {had[1]}")
                shown = shown or (examples(task, first, member) if examples else [])
                break
    if told and same:
        raise ErpError(
            f"source.style = same: {told[0]}; another few-shot or system prompt makes another task; take one of them "
            "away, or let members differ with source.style=any",
            *shown,
            *(f"source.style = same: {more}" for more in told[1:]),
        )
    if told:
        ledger.note(f"members were asked in different ways: {shorten(told, 3)}")


def sign_of(metric: str, task: str, said: bool | None, given: bool | None) -> int:
    """1 where more of a metric is better, -1 where less is.

    Args:
        metric: its name.
        task: where it is measured.
        said: what the run's results say, if anything.
        given: what the user does, where they say nothing.

    Raises:
        ErpError: nobody says it.
    """
    up = given if said is None else said
    if up is None:
        raise ErpError(
            f"source.higher_is_better = null: nothing says which way {metric} of {task} points; give the folder that "
            "holds the run's results_<date>.json too, or say true or false"
        )
    return 1 if up else -1


def several_units(scores: Iterable[str]) -> str:
    """What a reader must know of rewards that are several scores."""
    return f"rewards are of several scores: {shorten(sorted(scores))}; their units may differ"


def _told(name: str, value: object) -> str:
    return f"no {name}" if value is None else f"{name} {show(value)}"
