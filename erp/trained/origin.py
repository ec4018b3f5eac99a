"""What a run was made from, kept in its folder: the table's content, and what its members cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from erp.config import Plug
from erp.errors import ErpError, one_line, shorten
from erp.files import read_json, write_json
from erp.runs import RunFolder
from erp.table.schema import RewardTable
from erp.table.source import as_words, table_label
from erp.table.store import blocks
from erp.units import significant

# What each kind of cost is computed from.
_COUNTED_BY = {
    "usd": (("input_usd_per_mtok", "output_usd_per_mtok"), "USD per million input / output tokens"),
    "flops": (("active_parameters",), "active parameters"),
}
UNKNOWN = (
    "whether the table and its prices are those of the run cannot be told: its folder was made before they were kept"
)


@dataclass(frozen=True)
class Origin:
    """What a run was made from.

    Attributes:
        table: fingerprint of its reward table, of the pool's members alone and without what is said of them.
        members: what is said of them: prices and parameters, as they were used.
    """

    table: str
    members: Mapping[str, Mapping[str, float]]

    @classmethod
    def of(cls, table: RewardTable, members: Mapping[str, Mapping[str, float]]) -> Origin:
        """Of a run that is made now."""
        return cls(replace(table, facts={}).fingerprint(), members)

    @classmethod
    def kept_in(cls, folder: RunFolder) -> Origin | None:
        """Of an earlier run; None where its folder does not say. Raises ErpError where it cannot be read."""
        try:
            found = read_json(folder.origin)
            return cls(str(found["table"]), {name: dict(facts) for name, facts in found["members"].items()})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise ErpError(
                f"run = {folder.path}: origin.json cannot be read, so nobody can tell which table the run was made "
                "from; restore it or train again"
            ) from None

    def keep(self, folder: RunFolder) -> None:
        """Write it into the run's folder."""
        write_json(folder.origin, {"table": self.table, "members": self.members})

    def require(self, table: RewardTable, source: Plug) -> None:
        """Refuse another table under the name of the run's own. Raises ErpError."""
        if self.table == Origin.of(table, {}).table:
            return
        raise ErpError(
            f"data = same: the content of {table_label(source)} (prompts, rewards, tokens or costs) is not what the "
            f"run was trained on; restore it, or test on what is there now with {as_words(source)}, or train again"
        )

    def other_prices(self, now: Mapping[str, Mapping[str, float]], table: RewardTable, kind: str) -> list[str]:
        """A sentence on members whose costs are counted at other prices, or parameters, than in the run; else none."""
        keys, unit = _COUNTED_BY.get(kind, ((), ""))
        counted = set(table.members)
        if kind == "usd":  # a measured cost needs no price
            read = blocks(table.samples, len(table.prompts), ("member", "cost_usd"))
            unmeasured = (rows.loc[rows["cost_usd"].isna(), "member"] for _, rows in read)
            counted = {table.members[m] for of_some in unmeasured for m in of_some.unique()}
        moved = [
            f"{one_line(name)} {_shown(before, keys)} then, {_shown(after, keys)} now"
            for name in table.members
            if name in counted
            for before, after in [(self.members.get(name, {}), now.get(name, {}))]
            if any(before.get(key) != after.get(key) for key in keys)
        ]
        if not moved:
            return []
        what = "prices" if kind == "usd" else "parameters"
        return [
            f"the router decides by the costs it was trained with; what it spends is counted at other {what}: "
            f"{shorten(moved)} ({unit})"
        ]


def remarks_on(before: Origin | None, now: Origin, of_members: RewardTable, same: bool, kind: str) -> tuple[str, ...]:
    """What is not as it was for the run that is extended: prices, and on another table what its members earned."""
    if before is None:
        return (UNKNOWN,) if same else ()
    found = before.other_prices(now.members, of_members, kind)
    if before.table != Origin.of(of_members, {}).table:
        found.append(
            "the table's prompts, rewards or costs of the run's own members are not those that the run was trained on"
        )
    return tuple(found)


def _shown(facts: Mapping[str, float], keys: tuple[str, ...]) -> str:
    """What was said of a member: ``0.5 / 1.5``."""
    return " / ".join(significant(facts[key]) if key in facts else "unknown" for key in keys)
