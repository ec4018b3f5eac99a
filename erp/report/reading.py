"""What a backbone did not read of the prompts, and which it cannot tell apart, in a sentence."""

from __future__ import annotations

from erp.errors import one_line
from erp.report.facts import percent
from erp.results.run import Reading

NOTABLE = 0.01  # a smaller share goes without saying


def reading_line(found: Reading | None, backbone: str) -> str:
    """The sentence; empty where there is nothing to say, or (in runs of earlier versions) nothing is known.

    Args:
        found: ``window``, ``long``, ``cut`` and ``alike``, as in ``results.json`` under ``data.reading``.
        backbone: its name.
    """
    if found is None:
        return ""
    cut, alike = found.cut, found.alike
    told = []
    if cut > NOTABLE:
        lost = "beginning" if found.long == "tail" else "end"
        told.append(
            f"{one_line(backbone)} reads {found.window:,} tokens at once, and {_share(cut)} of the prompts are "
            f"longer and lose their {lost}"
        )
    if alike > NOTABLE:
        told.append(
            f"{_share(alike)} of the distinct prompts are to {one_line(backbone)} exactly like another, so that no "
            "router can tell them apart"
        )
    if not told:
        return ""
    remedy = (
        "backbone.long=mean reads all of them; so does an encoder with a longer window"
        if cut > NOTABLE
        else "another backbone may"
    )
    return f"{'; '.join(told)} ({remedy})."


def _share(share: float) -> str:
    """In whole percent, but 100% only where it is all."""
    return percent(share) if share == 1 else percent(min(share, 0.99))
