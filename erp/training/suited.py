"""Whether a router, a table and a backbone suit each other: asked before anything is learnt."""

from __future__ import annotations

from collections.abc import Sequence

from erp.backbones.base import Backbone, trains
from erp.errors import ErpError, shorten
from erp.routers.base import Router
from erp.table.complete import lacking, lacking_text
from erp.table.samples import tells_responses
from erp.table.schema import RewardTable
from erp.table.split import Split
from erp.table.votes import LearntVotes
from erp.targets import Targets, samples_per_cell


def require_categories(
    router: Router, name: object, table: RewardTable, category: str = "given", learning: bool = True
) -> None:
    """Refuse a router that reads, or learns from, what the table does not have. Raises ErpError naming the router."""
    reads = router.reads_category and category == "given"
    learns = learning and (router.learns_category or router.reads_category)
    if (reads or learns) and not table.has_categories:
        does = "reads" if reads else "learns from"
        raise ErpError(
            f"router = {name}: {does} the prompt's category, and the table has no column `category`; add one, or "
            f"choose a router that needs none (ridge, knn)"
        )


def require_pair(router: Router, name: object, members: Sequence[str]) -> None:
    """Refuse a pool of another size to a router that decides between two members. Raises ErpError."""
    if router.decides_between_two and len(members) != 2:
        raise ErpError(
            f"router = {name}: decides between two members, and the pool has {len(members)}: {shorten(list(members))}; "
            "name two (pool.members=[a,b]), or choose a router for any number (label_classifier, ridge)"
        )


def require_games(router: Router, name: object, votes: str | None) -> None:
    """Refuse votes to a router that learns from rewards. Raises ErpError."""
    if votes is not None and not router.learns_games:
        raise ErpError(
            f"votes.path = {votes}: router = {name} learns from rewards; those that learn from votes are "
            "matrix_factorisation, p2l, similarity_weighted and bradley_terry; choose one, or leave votes.path out"
        )


def require_votes(votes: LearntVotes, members: Sequence[str]) -> None:
    """Refuse votes without some member: nothing could be learnt about it. Raises ErpError."""
    known = set(votes.votes.members[~votes.validation].ravel().tolist())
    if unknown := [name for m, name in enumerate(members) if m not in known]:
        raise ErpError(
            f"votes.path: no vote of train is on {shorten(unknown)}, so nothing can be learnt about it; give more "
            "votes, name the other members in pool.members, or votes.beside_rewards=true"
        )


def require_spread(router: Router, name: object, table: RewardTable) -> None:
    """Refuse a router that learns how responses differ where rewards are means of several. Raises ErpError."""
    if router.learns_spread and not tells_responses(table):
        raise ErpError(
            f"router = {name}: learns how single responses differ, and the table holds means of several "
            "(n_samples above 1) that are not of 0/1 attempts; give the separate responses, or choose a router that "
            "learns means (ridge, mlp)"
        )


def require_samples(router: Router, name: object, table: RewardTable, targets: Targets) -> None:
    """Refuse a table with fewer separate responses than the router learns from. Raises ErpError naming the router."""
    fewest = samples_per_cell(targets)[0] if tells_responses(table) else 1
    if router.samples_needed > fewest:
        raise ErpError(
            f"router = {name}: learns from the best of {router.samples_needed} responses, and a cell of the table has "
            f"{fewest}; as many separate ones as every cell has, two at least, are allowed; lower router.n, collect "
            "more (k=), or choose a router that needs one (hybrid_llm, ridge)"
        )


def spread_notes(router: Router, targets: Targets) -> tuple[str, ...]:
    """What must be said of a router that learns how responses differ, where there is one of each cell."""
    if not router.learns_spread or samples_per_cell(targets)[1] > 1:
        return ()
    return (
        "every cell has one reward, from which the router learnt how responses differ; if these are means of several, "
        "what it predicts is how means differ (a column n_samples would say so)",
    )


def require_judged(table: RewardTable, targets: Targets, split: Split) -> None:
    """Refuse a split without a test reward: nothing could be judged. Raises ErpError."""
    if not targets.count[split.test].any():
        raise ErpError(
            f"split.seed: none of {len(split.test):,} test prompts has a reward of {shorten(list(table.members))}, so "
            "nothing can be judged; change split.seed, or give more rewards"
        )


def require_comparable(table: RewardTable, targets: Targets, split: Split) -> None:
    """Refuse a table where no test prompt has a reward of every member: nothing could be judged. Raises ErpError."""
    if targets.complete[split.test].any():
        return
    found = lacking(table.members, targets.count[split.test] > 0)
    raise ErpError(
        "pool.members: no test prompt has a reward of every member, so nothing can be compared; rewards are missing "
        f"for {lacking_text(found, len(split.test))}; name the members that were scored on the same prompts, or "
        "pool.complete=auto to leave out the members that break most"
    )


def require_train_rewards(table: RewardTable, targets: Targets, split: Split) -> None:
    """A member nobody scored on train cannot be predicted: a router that guessed would send prompts to it blindly."""
    known = targets.count[split.train].sum(axis=0) > 0
    if not known.all():
        unknown = [name for name, has in zip(table.members, known, strict=True) if not has]
        raise ErpError(
            f"pool.members = {shorten(unknown)}: no train prompt has a reward of it, so nothing can be learnt about "
            f"it; name the other members in pool.members, or change split.seed"
        )


def require_loss(router: Router, name: object, backbone: Backbone) -> None:
    """Refuse a router that no gradient comes out of where an encoder is to be trained by it. Raises ErpError."""
    if trains(backbone) and router.closed_form:
        raise ErpError(
            f"router = {name}: is solved in closed form, so that no gradient reaches the encoder "
            f"(backbone.finetune=true); choose one with a loss (mlp, low_rank, ranking), or backbone.finetune=false"
        )
