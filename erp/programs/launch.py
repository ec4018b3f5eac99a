"""How a program gets its config: one job directly, or the jobs of a sweep; every fault named first."""

from __future__ import annotations

from collections.abc import Sequence

from erp.compose import compose
from erp.errors import ErpError
from erp.jobs import swept_in_file
from erp.programs.commandline import Check, Job, parse, through_hydra


def launch(program: str, arguments: Sequence[str], job: Job, check: Check = lambda _: None) -> None:
    """Run ``job`` on the composed config, once, or for every combination of a sweep (``-m``).

    Args:
        program: its name.
        arguments: the command line after it.
        job: takes a composed config.
        check: takes those of all jobs of a sweep, before the first starts.

    Raises:
        ErpError: every fault of the command line; after a sweep, what failed and where.
    """
    parsed = parse(arguments)
    if parsed.sweep:
        from erp.programs.sweep import sweep  # here: one job does without

        sweep(program, parsed, job, check)
    elif any(o.startswith("experiment=") for o in parsed.overrides) and swept_in_file(program, parsed.overrides):
        raise ErpError(
            "experiment: the file holds a sweep; give -m for all of its runs, or the keys of one run yourself"
        )
    elif parsed.flags:
        compose(program, parsed.overrides, parsed.config_file)  # faults first, in our words
        through_hydra(program, parsed, [], [], job)
    else:
        job(compose(program, parsed.overrides, parsed.config_file))
