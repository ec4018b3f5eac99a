"""Units on a Ray cluster: a Ray Data pipeline for every model, whose workers write what they make to shared storage."""

from __future__ import annotations

import logging
import math
import pickle
import shlex
import shutil
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from threading import Timer
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from erp.collect.units import Job, Report, Runner, Unit
from erp.errors import ErpError

if TYPE_CHECKING:
    from ray.data import DataContext, Dataset

QUIET_S = 60.0  # after which it is said, once, that nothing has come yet
CONNECT_S = 5.0
MOST_UNITS = 64  # of a task: a worker's stream of requests runs dry at its end only
TASKS_PER_WORKER = 4  # at least, where there are as many units: workers end at about the same time


class RayDataRunner(Runner):
    """Pipelines of Ray Data, one for each model and what its workers need, all side by side.

    A pipeline's workers load the model once and take tasks of several units, a stream of requests each; there is one
    worker at first, and as many as find room later, on nodes that join too. A unit's report comes as soon as the unit
    is written. A worker that is lost costs the unit it was at: what the store lacks is done again when all else is.

    Args:
        address: of a running cluster, ``auto`` for the one this machine belongs to; None starts one here.
        workers: of a pipeline, at once; None for as many as the cluster has room for.
        num_cpus: of a worker whose member, or reward model, says nothing else under ``resources``.
        attempts: how often a unit may lose its worker before it counts as lost.
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
        self.here = address in (None, "local")

    def run(self, job: Job, units: Sequence[Unit]) -> Iterator[Report]:
        """Do the units, in any order.

        Raises:
            ErpError: no Ray, no cluster, no node that is large enough, workers that cannot start, or what a worker
                raises.
        """
        left = list(units)
        with self._cluster() as ray:
            for _ in range(self.attempts):
                done = set[Unit]()
                with closing(self._reports(ray, job, left)) as reports:
                    for said in reports:
                        if isinstance(said, Report):
                            done |= set() if said.again else {said.unit}
                            yield said
                        else:
                            done.update(said)
                left = [unit for unit in left if unit not in done]
                if not left:
                    return
        yield from (Report(unit, 0, lost=f"its worker was lost {self.attempts} times") for unit in left)

    @contextmanager
    def _cluster(self) -> Iterator[Any]:
        """Ray, connected; what was connected here is left at the end, which ends its workers."""
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise ErpError(f"runner = ray_data: needs {error.name or 'ray[data]'}; pip install 'erp[ray]'") from None
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # lost workers and progress are told by us
        if ray.is_initialized():
            yield ray
            return
        try:
            self._connect(ray)
            yield ray
        finally:
            ray.shutdown()

    def _connect(self, ray: Any) -> None:
        self._knock()
        self._find_program()
        at_term = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=self.address or "local", include_dashboard=False,  # None would join whoever's runs here
                logging_level=logging.ERROR, log_to_driver=False, runtime_env=self.runtime_env,
            )  # fmt: skip
        except (ConnectionError, ValueError, RuntimeError) as error:
            key = "address" if self.runtime_env is None else "runtime_env"
            raise ErpError(
                f"runner.{key} = {getattr(self, key)}: Ray does not start with it ({_line(error)}); give another, or "
                f"null"
            ) from None
        if signal.getsignal(signal.SIGTERM) != at_term:  # Ray's own would end this process without its last words
            signal.signal(signal.SIGTERM, at_term or signal.SIG_DFL)
        if self.runtime_env:
            try:
                with _said_after(QUIET_S, "runner.runtime_env: is being set up; does every node have what it names?"):
                    ray.get(ray.remote(num_cpus=0)(_nothing).remote())
            except ray.exceptions.RayError as error:
                raise ErpError(f"runner.runtime_env: cannot be set up ({_line(error)}); correct it") from None

    def _find_program(self) -> None:
        """Raise ErpError where this machine has to run a program that it lacks: Ray itself would wait without end."""
        said = str((self.runtime_env or {}).get("py_executable") or "")
        try:
            program = next(iter(shlex.split(said)), None)
        except ValueError:  # a quotation without end
            program = said
        packed = program is not None and program.startswith(".") and "working_dir" in (self.runtime_env or {})
        if program is None or packed or self.address not in (None, "auto", "local"):
            return  # another machine's programs are its own
        if shutil.which(program) is None:
            raise ErpError(
                f"runner.runtime_env.py_executable = {said}: there is no such program here; give one that every node "
                f"has, or leave it out"
            )

    def _knock(self) -> None:
        """Raise ErpError where nobody listens at ``host:port``: Ray itself would try for minutes."""
        host, _, port = (self.address or "").rpartition(":")
        if not host or not port.isdigit() or "/" in host:
            return
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
        except OSError as error:
            raise ErpError(f"runner.address = {self.address}: no cluster there ({error}); start one, or give null")\
                from None  # fmt: skip

    def _reports(self, ray: Any, job: Job, units: Sequence[Unit]) -> Generator[Report | tuple[Unit, ...]]:
        """Of the units that are done, and the units of each task that has ended; none of those of a lost worker."""
        first, *others = self._pipelines(ray, job, units)
        whole = first.union(*others) if others else first
        batches: Any = iter(whole.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
        quiet = Timer(QUIET_S, _say_quiet, [ray])
        quiet.daemon = True
        quiet.start()
        try:
            with closing(batches):  # workers end when nobody listens any more
                for batch in batches:
                    quiet.cancel()
                    for outcome in map(pickle.loads, batch["outcome"].to_pylist()):
                        if isinstance(outcome, Exception):
                            raise outcome
                        yield outcome
        except ray.exceptions.RayError as error:
            raise ErpError(
                f"runner = ray_data: workers cannot start ({_line(error)}); is all that erp needs installed on every "
                f"node? runner.runtime_env can do it"
            ) from None
        finally:
            quiet.cancel()

    def _pipelines(self, ray: Any, job: Job, units: Sequence[Unit]) -> list[Dataset]:
        """One for each model and what its workers need, the largest first. Raises ErpError for all that fit no node."""
        kinds: dict[tuple[tuple[tuple[str, float], ...], str], list[Unit]] = {}
        for unit in units:
            needs = {"num_cpus": self.num_cpus, **job.resources(unit)}
            kinds.setdefault((tuple(sorted(needs.items())), job.loads(unit)), []).append(unit)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = {kind: room_on(nodes, dict(kind[0])) for kind in kinds}
        if faults := [_no_node(own[0], dict(kind[0]), nodes) for kind, own in kinds.items() if not room[kind]]:
            raise ErpError(*faults)
        with ray.data.DataContext.current(_context(ray.data.DataContext)), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")  # max_task_retries has no other place
            return [
                self._pipeline(ray, job, dict(kind[0]), kinds[kind], room[kind])
                for kind in sorted(kinds, key=lambda kind: -sum(amount for _, amount in kind[0]))
            ]

    def _pipeline(self, ray: Any, job: Job, needs: dict[str, float], units: list[Unit], room: int) -> Dataset:
        tasks = min(len(units), max(room * TASKS_PER_WORKER, math.ceil(len(units) / MOST_UNITS)))
        most = self.workers or (tasks if any(needs.values()) else 1)  # what takes nothing finds room without end
        taken: dict[str, Any] = {key: needs[key] for key in ("num_cpus", "num_gpus", "memory") if key in needs}
        if others := {key: amount for key, amount in needs.items() if key not in taken}:
            taken["resources"] = others
        places: Dataset = ray.data.from_items([{"unit": i} for i in range(len(units))], override_num_blocks=tasks)
        return places.map_batches(
            _Worker,
            fn_constructor_args=(job, units),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(most, tasks), max_tasks_in_flight_per_actor=1),
            max_task_retries=0,  # another attempt is ours: it knows what is done already
            **taken,
        )


class _Worker:
    """Does units of one model where Ray Data puts it; tells the driver pickled reports, or what went wrong."""

    def __init__(self, job: Job, units: Sequence[Unit]) -> None:
        self.job, self.units = job, units

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        """Do a task's units, given by their places."""
        try:
            units = tuple(self.units[place] for place in batch["unit"])
            for report in self.job.run(units):
                yield {"outcome": [pickle.dumps(report)]}
            yield {"outcome": [pickle.dumps(units)]}  # no more will come of these
        except ErpError as error:
            yield {"outcome": [pickle.dumps(error)]}
        except Exception:  # Ray Data would take it for a lost worker
            yield {"outcome": [pickle.dumps(RuntimeError(traceback.format_exc()))]}

    def __del__(self) -> None:
        """Ray Data needs no such worker any more."""
        self.job.close()


def _nothing() -> None:
    """What a worker does to show that there can be one."""


def room_on(nodes: Sequence[Mapping[str, float]], needs: Mapping[str, float]) -> int:
    """How many workers fit: one lies on one node, whatever the others have to spare."""
    wanted = {key: amount for key, amount in _named(needs).items() if amount > 0}
    fitting = [min((int(node.get(key, 0) // amount) for key, amount in wanted.items()), default=1) for node in nodes]
    return sum(fitting)


def _context(data_context: type[DataContext]) -> DataContext:
    context = data_context.get_current().copy()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # a report leaves its worker when it is made, and not with others
    context.max_errored_blocks = -1  # a lost worker costs its task, not the run
    context.execution_no_progress_timeout_s = -1  # a unit may take hours
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0  # all are busy: of one task each
    return context


def _no_node(unit: Unit, needs: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> str:
    key = "reward_model" if unit.member is None else f"pool.members.{unit.member}"
    named = _named(needs)
    have = "; ".join(dict.fromkeys(_shown({name: node.get(name, 0) for name in named}) for node in nodes))
    return (
        f"{key}.resources: a worker needs {_shown(named)} on one node, and nodes have {have}; add larger ones, or ask "
        f"less"
    )


@contextmanager
def _said_after(seconds: float, line: str) -> Iterator[None]:
    """Say it, once, if what is done meanwhile takes longer."""
    late = Timer(seconds, tqdm.write, [line], {"file": sys.stderr})
    late.daemon = True
    late.start()
    try:
        yield
    finally:
        late.cancel()


def _say_quiet(ray: Any) -> None:
    tqdm.write(
        f"runner = ray_data: no unit has ended in {QUIET_S:.0f} s; free on the cluster: "
        f"{_shown(ray.available_resources())} (`ray status` says what waits)",
        file=sys.stderr,
    )


def _named(needs: Mapping[str, float]) -> dict[str, float]:
    """What is needed, as nodes call it."""
    return {{"num_cpus": "CPU", "num_gpus": "GPU"}.get(key, key): amount for key, amount in needs.items()}


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]


def _shown(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {amount:g}" for key, amount in sorted(resources.items()) if not key.startswith("node:"))
