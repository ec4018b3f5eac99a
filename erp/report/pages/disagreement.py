"""Where gains lie: on prompts where members differ, and on those where they were not told apart."""

from __future__ import annotations

from erp.report.facts import level_of, percent
from erp.report.text import gain_text, percents, table
from erp.results import Results, number
from erp.results.base import Interval
from erp.results.disagreement import Disagreement

HEADING = "## Where members differ"


def disagreement_page(results: Results) -> list[str]:
    """Gains by disagreement; nothing in a run of before it was looked at."""
    found = results.disagreement
    if found is None:
        return []
    if found.disagree is None or found.agree is None:
        return [HEADING, f"On which prompts members differ is not known: {found.reason}."]
    tested, level = found.basis == "test", level_of(results)
    parts = {
        "where members differ": found.disagree,
        "where they were not told apart" if tested else "where all earn the same": found.agree,
    }
    rows = [
        [name, _shares(part.share), gain_text(part.gain_vs_best_single), gain_text(part.gain_vs_category_mean),
         _shares(part.headroom_share)]
        for name, part in parts.items()
    ]  # fmt: skip
    header = [
        "Test prompts", f"Share of them ({level})", f"Router less best single ({level})",
        f"Router less category mean ({level})", f"Share of the headroom ({level})",
    ]  # fmt: skip
    kept = [
        i for i in range(len(header))
        if i < 3 or (i == 3 and results.decided.routing.category_mean is not None) or (i == 4 and tested)
    ]  # fmt: skip
    told = table([header[i] for i in kept], [[row[i] for i in kept] for row in rows])
    return [HEADING, told, _test(found) if tested else _observed(found)]


def _test(found: Disagreement) -> str:
    chance = percent(number(found.level))
    text = (
        f"Each of {found.prompts:,} prompts is tested for a difference between members' expected rewards (level "
        f"{chance}: so many would pass by chance if there were none), on samples that are not scored: they "
        f"are dealt into {found.folds} parts, each scored in turn on the prompts that the others tell apart, so that "
        "choosing prompts biases no gain. Gains are means over the prompts of a row. With few samples the test misses "
        "differences: the second row holds prompts where members differ too."
    )
    if found.disagree is not None and found.disagree.headroom_share is not None:
        text += (
            " The headroom is that of the member which is best on the samples that are not scored, over best single."
        )
    return text


def _observed(found: Disagreement) -> str:
    return (
        f"This is observed disagreement and no more, since {found.reason}. A prompt on which one member was right and "
        "another wrong counts as one where they differ, by luck or not, and gains are of the same samples. "
        "Where all are right or all wrong no choice of a member gains anything."
    )


def _shares(found: Interval | None) -> str:
    if found is None or found.mean is None:
        return "-"
    ends = [number(found.low), number(found.high)]
    return percents(number(found.mean)) + ("" if any(end != end for end in ends) else f" ({percents(*ends)})")
