"""No login, no settings and no server of whoever runs the tests."""

import os

import pytest
import wandb

from tests.tracking.offline import quick, recorded


@pytest.fixture(autouse=True, scope="module")
def alone(tmp_path_factory):
    """W&B as on a machine that never saw it."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
            patch.setenv(name, str(home))
        patch.setenv("NETRC", str(home / "netrc"))
        patch.setenv("ERP_CACHE", str(tmp_path_factory.mktemp("cache")))
        wandb.teardown()  # a service that is up keeps the settings it started with
        yield
        wandb.teardown()


@pytest.fixture(scope="module")
def trained(alone, tmp_path_factory):
    """A network's run in a sweep, and what W&B has of it."""
    more = ("router=mlp", "router.hidden=[8]", "trainer.max_epochs=4", "sweep=abcd", "tracking.tags=[first]")
    result = quick(tmp_path_factory.mktemp("runs"), "tracking.project=mine", "figures=true", *more)
    return result, recorded(result.folder)
