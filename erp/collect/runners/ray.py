"""Units on a Ray cluster: actors that load a model once and write what they make to shared storage."""

from __future__ import annotations

import logging
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from erp.collect.units import Job, Report, Runner, Unit
from erp.errors import ErpError

QUIET_S = 60.0  # after which it is said, once, that nothing comes


class RayRunner(Runner):
    """Actors take units; one that is lost costs its unit, which another one does.

    Units that need different resources are done one kind after the other, the kind that needs most first.

    Args:
        address: of a running cluster, ``auto`` for the one this machine belongs to; None starts one here.
        workers: actors at once; None for as many as the cluster has room for.
        num_cpus: of an actor whose member, or reward model, says nothing else under ``resources``.
        attempts: how often a unit may lose its worker before it counts as failed.
        runtime_env: Ray's own description of what workers need (packages, working_dir, env_vars).
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        num_cpus: float = 1,
        attempts: int = 3,
        runtime_env: dict[str, Any] | None = None,
    ) -> None:
        for name, value in (("workers", 1 if workers is None else workers), ("attempts", attempts)):
            if value < 1:
                raise ErpError(f"runner.{name} = {value}: give 1 or more")
        self.address, self.workers, self.num_cpus, self.attempts = address, workers, num_cpus, attempts
        self.runtime_env = runtime_env

    def run(self, job: Job, units: Sequence[Unit]) -> Iterator[Report]:
        """Do the units, in any order. Raises ErpError: no Ray, no cluster, or what a worker raises."""
        try:
            import ray
        except ModuleNotFoundError:
            raise ErpError("runner = ray: needs the package ray; pip install 'erp[ray]'") from None
        started_here = not ray.is_initialized()
        if started_here:
            self._connect(ray)
        try:
            kinds: dict[tuple[tuple[str, float], ...], list[Unit]] = {}
            for unit in units:
                kinds.setdefault(tuple(sorted(self._needs(job, unit).items())), []).append(unit)
            for needs in sorted(kinds, key=lambda kind: -sum(amount for _, amount in kind)):
                yield from _Group(ray, job, dict(needs), self._actors(ray, dict(needs)), self.attempts).run(
                    kinds[needs]
                )
        finally:
            if started_here:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        try:
            ray.init(
                address=self.address, include_dashboard=False,
                logging_level=logging.ERROR, log_to_driver=False, runtime_env=self.runtime_env,
            )  # fmt: skip
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ErpError(f"runner.address = {self.address}: no cluster there ({error}); start one, or give null")\
                from None  # fmt: skip

    def _needs(self, job: Job, unit: Unit) -> dict[str, float]:
        return {"num_cpus": self.num_cpus, **job.resources(unit)}

    def _actors(self, ray: Any, needs: dict[str, float]) -> int:
        """How many actors fit. Raises ErpError where not even one does."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        named = {{"num_cpus": "CPU", "num_gpus": "GPU"}.get(key, key): amount for key, amount in needs.items()}
        room = room_on(nodes, named)
        if room < 1:
            largest = "; ".join(dict.fromkeys(_shown(node) for node in nodes))
            raise ErpError(
                f"runner = ray: a worker needs {_shown(named)} on one node, and nodes have {largest}; add larger ones, "
                f"or ask less under resources"
            )
        return room if self.workers is None else min(self.workers, room)


class _Group:
    """Actors of one kind and the units they share out."""

    def __init__(self, ray: Any, job: Job, needs: dict[str, float], actors: int, attempts: int) -> None:
        self.ray, self.job, self.count, self.attempts = ray, job, actors, attempts
        ours = {key: needs[key] for key in ("num_cpus", "num_gpus", "memory") if key in needs}
        others = {key: amount for key, amount in needs.items() if key not in ours}
        self.actor_class = ray.remote(_Worker).options(**ours, resources=others or None)
        self.lost: Counter[Unit] = Counter()

    def run(self, units: Sequence[Unit]) -> Iterator[Report]:
        left: dict[str, deque[Unit]] = {}  # by what has to be loaded
        for unit in units:
            left.setdefault(self.job.loads(unit), deque()).append(unit)
        running: dict[Any, tuple[Any, Unit]] = {}
        loaded: dict[Any, str] = {}
        told = False
        idle = [self.actor_class.remote(self.job) for _ in range(min(self.count, len(units)))]
        try:
            while any(left.values()) or running:
                while any(left.values()) and idle:
                    actor = idle.pop()
                    loaded[actor] = which_model({model: len(of_it) for model, of_it in left.items()}, loaded.get(actor))
                    unit = left[loaded[actor]].popleft()
                    running[actor.run.remote(unit)] = actor, unit
                found, _ = self.ray.wait(list(running), num_returns=1, timeout=QUIET_S)
                if not found:
                    if not told:
                        told = True
                        tqdm.write(
                            f"runner = ray: no unit has ended in {QUIET_S:.0f} s; free on the cluster: "
                            f"{_shown(self.ray.available_resources())} (`ray status` says what waits)",
                            file=sys.stderr,
                        )
                    continue
                actor, unit = running.pop(found[0])
                try:
                    report = self.ray.get(found[0])
                except self.ray.exceptions.RayTaskError as error:  # what the job itself raised
                    raise error.cause if isinstance(error.cause, ErpError) else error from None
                except self.ray.exceptions.RuntimeEnvSetupError as error:
                    raise ErpError(f"runner.runtime_env: cannot be set up ({_line(error)}); correct it") from None
                except self.ray.exceptions.RayError as error:  # killed, out of memory, its node is gone
                    self.ray.kill(actor)  # it may only be out of reach, and must not write later
                    idle.append(self.actor_class.remote(self.job))
                    self.lost[unit] += 1
                    if self.lost[unit] < self.attempts:
                        left[self.job.loads(unit)].append(unit)
                        continue
                    report = Report(unit, 0, lost=f"its worker was lost {self.attempts} times ({_line(error)})")
                else:
                    idle.append(actor)
                yield report
        finally:
            for actor in [*idle, *(actor for actor, _ in running.values())]:
                self.ray.kill(actor)


def room_on(nodes: Sequence[Mapping[str, float]], needs: Mapping[str, float]) -> int:
    """How many workers fit: one lies on one node, whatever the others have to spare."""
    wanted = {key: amount for key, amount in needs.items() if amount > 0}
    fitting = [min((int(node.get(key, 0) // amount) for key, amount in wanted.items()), default=1) for node in nodes]
    return sum(fitting)


def which_model(left: Mapping[str, int], loaded: str | None) -> str:
    """Whose units an actor takes: those of the model it holds, else those of the model with most units left."""
    if loaded is not None and left.get(loaded):
        return loaded
    return max(left, key=lambda model: left[model])


class _Worker:
    """The actor."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def run(self, unit: Unit) -> Report:
        (report,) = self.job.run([unit])
        return report


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]


def _shown(resources: dict[str, float]) -> str:
    return ", ".join(f"{key} {amount:g}" for key, amount in sorted(resources.items()) if ":" not in key)
