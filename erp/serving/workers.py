"""Several processes that serve as one: they share a port, the file of pins and spend, and a folder of counts."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Mapping
from functools import partial
from socket import socket
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from erp.config import validate
from erp.errors import ErpError
from erp.serving.app import App
from erp.serving.metrics import FOLDER
from erp.serving.opening import opened

_log = logging.getLogger("erp.serving")


class Workers(Multiprocess):
    """Starts workers, and another where one dies. A hang-up is each worker's to heed, as it is of one alone."""

    def handle_hup(self) -> None:
        """Let each of them load the run anew; one that has only begun does so as it is."""
        for worker in self.processes:
            if worker.pid is not None and worker.is_ready():
                os.kill(worker.pid, signal.SIGHUP)


def serve(container: Mapping[str, Any], options: Mapping[str, Any], at: socket) -> None:
    """Serve until told to end.

    Args:
        container: the config.
        options: of uvicorn.
        at: where they listen.
    """
    with TemporaryDirectory(prefix="erp-metrics-") as counts:
        os.environ[FOLDER] = counts
        Workers(uvicorn.Config(partial(from_plain, container), factory=True, **options), [at]).run()


def from_plain(container: Mapping[str, Any]) -> App:
    """The application of a worker, which is another process. Ends it where the run cannot be opened any more."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        return opened(validate("serve", container))
    except ErpError as error:
        for fault in error.faults:
            _log.error("%s", fault)
        raise SystemExit(3) from None  # by which its parent knows that starting it again is of no use


def _end_with_parent() -> None:
    """A worker whose parent was killed would hold the port, and the folder of counts, for good."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        shutil.rmtree(os.environ[FOLDER], ignore_errors=True)
        os.kill(os.getpid(), signal.SIGTERM)
