"""``erp extend``: one more member for a trained router, learnt from few labels; the others stay as they are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from erp.backbones.cache import cached_embeddings
from erp.config import ExtendConfig, validate
from erp.errors import one_line
from erp.evaluation.bins import binned
from erp.evaluation.choices import chosen_in
from erp.evaluation.extension import compare_methods, every_head
from erp.evaluation.measure import measure
from erp.evaluation.predictions import predictions
from erp.files import cache_folder
from erp.programs.launch import launch
from erp.report.write import write_report
from erp.results import Results
from erp.routers.extended import Extended
from erp.routers.extension import unlabelled_clusters
from erp.runs import RunFolder
from erp.table.categories import category_codes
from erp.table.source import table_label
from erp.targets import expected_target
from erp.trained.checkpoint import load_bundle, save_bundle
from erp.trained.extended import Labels, extended_bundle
from erp.training.data import RoutingData
from erp.training.extending import ExtensionPlan, prepare_extension
from erp.training.scoring import scores_of
from erp.training.suited import require_comparable


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("extend", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    plan = prepare_extension(validate("extend", container))
    folder, results, fresh = _made(plan)
    if not fresh:
        print("This run is finished already; delete its folder to make it again.")
    if joined := results.get("extension"):
        print(
            f"{one_line(joined['member'])} joined from {joined['labels']} labels ({joined['method']}); "
            f"regret at lambda = 0 {joined['regret']:.4g}, without it {joined['regret_without']:.4g}"
        )
    print(results.get("verdict") or "")
    for remark in plan.remarks:
        print(f"note: {remark}")
    print(f"report: {folder / 'report.html'}")
    print(folder)


def run(config: ExtendConfig) -> tuple[Path, dict[str, Any], bool]:
    """Extend a run's router; returns the new run's folder, its results, and whether it was made just now.

    Raises:
        ErpError: one line for every fault of the input.
    """
    return _made(prepare_extension(config))


def _made(plan: ExtensionPlan) -> tuple[Path, dict[str, Any], bool]:
    with plan.folder.running(plan.config.model_dump(mode="json", by_alias=True)) as needed:
        if not needed:
            return plan.folder.path, plan.folder.load_results(), False
        return plan.folder.path, _extend(plan), True


def _extend(plan: ExtensionPlan) -> dict[str, Any]:
    """Fit the new member's head, test the pool with it, write the run folder."""
    start = time.perf_counter()
    data = _data(plan)
    require_comparable(data.table, data.targets, data.split)
    base, at_once = plan.trained.bundle, plan.config.trainer.batch_size
    labels, others = _labels(plan, data), scores_of(base, data, plan.labels, at_once)
    clusters = unlabelled_clusters(data.embeddings.take(plan.split.learnt), plan.asked.seed)
    head = every_head(labels, others, clusters, len(plan.labels))[plan.asked.method]
    bundle = extended_bundle(base, plan.config.router, plan.member, head, labels, plan.asked.trust)
    save_bundle(bundle, plan.folder.checkpoint)
    # What is tested is what was saved.
    bundle = load_bundle(plan.folder.checkpoint, plan.asked.trust, plan.asked.weights_dir)
    choices = chosen_in(RunFolder(Path(plan.asked.run)).load_results(), plan.table.members)
    scores = scores_of(bundle, data, data.split.test, at_once)
    results, test = measure(
        data, bundle, plan.config, plan.trained.policy, scores, choices, _notes(plan),
        label=table_label(plan.config.data),
    )  # fmt: skip
    assert isinstance(bundle.router, Extended)
    results["extension"] = {
        "run": plan.config.router["run"], "member": plan.member, "asked": plan.asked.method, "seed": plan.asked.seed,
        "labels": len(plan.labels), "available": plan.available, **bundle.router.joined(),
        **compare_methods(labels, others, clusters, test, data.embeddings.take(data.split.test).astype(np.float64),
                          plan.asked.method, plan.config.bootstrap.model_dump()),
    }  # fmt: skip
    results["objective"] = {"name": plan.config.objective, "value": None}
    results["run"] |= {"name": plan.folder.path.name, "seconds": round(time.perf_counter() - start, 2)}
    frame = plan.split.frame(plan.table.prompts)
    plan.folder.keep_split(frame.assign(labelled=np.isin(np.arange(len(frame)), plan.labels)))
    plan.origin.keep(plan.folder)
    predicted = predictions(data, [("test", test, data.split.test)], plan.trained.policy)
    bins = binned(results, predicted)
    return write_report(plan.folder.path, Results.of(results), predicted, bins, plan.asked.figures)[0].plain()


def _data(plan: ExtensionPlan) -> RoutingData:
    table, card = plan.table, plan.trained.card
    embeddings = cached_embeddings(
        table.prompts["prompt"].tolist(), plan.trained.backbone, cache_folder(plan.asked.cache_dir), progress=True
    )
    target = plan.config.target
    return RoutingData(
        table, expected_target(table, **target.model_dump()), plan.costs, plan.split, embeddings,
        card.categories, category_codes(table.prompts["category"].tolist(), card.categories),
    )  # fmt: skip


def _labels(plan: ExtensionPlan, data: RoutingData) -> Labels:
    rows = plan.labels
    return Labels(
        data.embeddings.take(rows).astype(np.float64), data.category[rows], data.targets.mean[rows, :-1],
        data.targets.mean[rows, -1],
        data.costs.known[rows, -1], float(data.costs.mean[-1]),
    )  # fmt: skip


def _notes(plan: ExtensionPlan) -> list[str]:
    """What a reader must know of an extended run."""
    return [
        *plan.split.notes,
        *plan.remarks,
        f"{one_line(plan.member)} was learnt from {len(plan.labels):,} of {plan.available:,} labels; its other rewards "
        f"on train and validation prompts were not read",
        "lambdas and the cascade that were chosen on validation are those of the run that was extended, from its pool",
    ]
