"""All of ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from erp.files import jsonable
from erp.results.audits import Audits
from erp.results.base import Number, Section, told
from erp.results.curves import Areas, Curves, IntervalsAlong, Pareto, SharesAlong, WeakAndStrong
from erp.results.disagreement import Disagreement
from erp.results.drift import Drift
from erp.results.economics import Economics
from erp.results.extension import Extension
from erp.results.noise import Noise, SplitHalf
from erp.results.overlaps import Overlaps
from erp.results.policy import Chosen, CostSave, EqualCost, PerfGain, PolicyOutcome
from erp.results.predicted_costs import PredictedCosts
from erp.results.prediction import Prediction
from erp.results.routing import Routing
from erp.results.run import Cost, Data, Objective, Run
from erp.results.run_time import RunTime

_NONE = "no test prompt has a reward of every member"


class Decided(NamedTuple):
    """The sections of test prompts that have a reward of every member: all are there, or none."""

    routing: Routing
    policy: PolicyOutcome
    equal_cost: EqualCost
    curves: Curves
    audc: Areas
    aiq: Areas
    interval: IntervalsAlong
    shares: SharesAlong
    regret: float


class Results(Section):
    """All of ``results.json``, in its order."""

    run: Run = told("what was run")
    data: Data = told("on what")
    cost: Cost = told("what costs are counted in")
    prediction: Prediction = told("how well rewards are predicted")
    predicted_costs: PredictedCosts | None = told(
        "how well costs are predicted, and what that buys",
        null="costs are the members' train means; a run of before this was told",
    )
    routing: Routing | None = told("the router and its references at lambda = 0", null=_NONE)
    disagreement: Disagreement | None = told("gains by whether members differ on a prompt", null=_NONE)
    policy: PolicyOutcome | None = told("the run's policy", null=_NONE)
    equal_cost: EqualCost | None = told("beside the best constant at equal cost", null=_NONE)
    rewards_at_run_time: RunTime | None = told(
        "a policy that looks at rewards", null="other policies; no separate samples"
    )
    curves: Curves | None = told("reward against cost", null=_NONE)
    audc: Areas | None = told(
        "area under the running maximum by steps, over the pool's range of costs", "reward; higher",
        "all members cost the same",
    )  # fmt: skip
    aiq: Areas | None = told("area under the upper hull", "reward; higher", "all members cost the same")
    perf_gain: PerfGain | None = told("at the most reward", null="no complete validation prompt")
    cost_save: CostSave | None = told("at best single's reward", null="there is no such lambda")
    pair: WeakAndStrong | None = told("between two members", null="they are one")
    pareto: Pareto | None = told("beside the joint frontier", null="all members cost the same")
    economics: Economics | None = told("what labels cost", null="no costs; another table")
    interval: IntervalsAlong | None = told("the curve with intervals", null=_NONE)
    shares: SharesAlong | None = told("who is chosen along the curve", null=_NONE)
    regret: Number | None = told(
        "mean reward lost against the oracle, at lambda = 0", "reward, at least 0; lower", _NONE
    )
    overlaps: Overlaps | None = told("on prompts that lack some reward", null="no test prompt does")
    chosen_on_validation: Chosen = told("chosen on validation")
    oracle_split_half: SplitHalf | None = told("the split-half oracle", null="K = 1")
    noise: Noise = told("how much is noise")
    audits: Audits = told("what should not matter")
    level: Number = told("of every interval", "0 to 1")
    extension: Extension | None = told("who joined; only in the runs that `erp extend` makes", default=None)
    drift: Drift | None = told("what another encoder changes; only in `erp evaluate backbone=`", default=None)
    objective: Objective = told("what a sweeper maximises")
    verdict: str = told("the report's first lines, as text")

    @property
    def decided(self) -> Decided:
        """What there is only where some test prompt has a reward of every member. Raises ValueError elsewhere."""
        found = {name: getattr(self, name) for name in Decided._fields}
        if lacking := [name for name, section in found.items() if section is None]:
            raise ValueError(f"{lacking[0]}: is null")
        return Decided(**found)

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Self:
        """From what evaluation computed: numpy's values too, null for what is not finite; without a verdict as yet."""
        return cls.model_validate({**jsonable(found), "verdict": ""})

    def plain(self) -> dict[str, Any]:
        """As it stands in the file."""
        return self.model_dump(by_alias=True, exclude_unset=True)
