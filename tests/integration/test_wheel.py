"""The wheel as a user installs it: config files inside, command line working from any folder."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_carries_its_configs_and_runs_away_from_the_checkout(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    installed = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    shipped = {str(p.relative_to(installed / "erp/conf")) for p in (installed / "erp/conf").rglob("*.yaml")}
    assert shipped == {str(p.relative_to(ROOT / "conf")) for p in (ROOT / "conf").rglob("*.yaml")}
    assert (installed / "erp/py.typed").exists()

    # -P keeps the working folder off sys.path; the unpacked wheel comes before any editable install.
    code = "import erp, sys; from erp.cli import main; print(erp.__file__); sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-P", "-c", code, "describe", "output=json"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    where, _, facts = done.stdout.partition("\n")
    assert Path(where).is_relative_to(installed)
    assert json.loads(facts)["members"] == 6  # the table that ships
