"""A router on a hub: fetched by its commit, once, and nothing but the files of an export; all else is one line."""

import json
from pathlib import Path

import numpy as np
import pytest

import erp
from erp.formats.checkpoint import CHECKPOINT
from erp.trained import hub as trained_hub
from erp.trained.checkpoint import load_bundle, save_bundle
from erp.trained.exported import CONFIG, TENSORS
from tests.trained.hub import TOKEN, local_hub
from tests.trained.refused import fault
from tests.training.tables import RIDGE, finished_run, routing_data

PROMPTS = ["prove the triangle theorem", "debug the parser loop", ""]
SHA = "0123456789abcdef0123456789abcdef01234567"
NAME = "me/router"
ADDRESS = f"hf://{NAME}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """An exported ridge, and its files' contents."""
    folder = tmp_path_factory.mktemp("shared")
    finished_run(routing_data(), RIDGE, folder / "run")
    save_bundle(load_bundle(folder / "run" / "checkpoint.ckpt"), folder / "out" / TENSORS)
    (folder / "out" / "README.md").write_text("# A router\n")
    return folder / "out"


@pytest.fixture
def files(shared):
    return {file.name: file.read_bytes() for file in shared.iterdir()}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with local_hub(monkeypatch, tmp_path) as found:
        yield found


def edited(files, change):
    """The files with another config."""
    config = json.loads(files[CONFIG])
    change(config)
    return {**files, CONFIG: json.dumps(config).encode()}


def test_the_commit_s_router_is_fetched_once_and_then_needs_no_hub(monkeypatch, tmp_path, shared, files):
    with local_hub(monkeypatch, tmp_path) as hub:
        sha = hub.put(NAME, {**files, "model.bin": b"a pickle", "more/config.json": b"{}", ".gitattributes": b""})
        hub.put(NAME, {"config.json": b"{}", TENSORS: b"moved on"})
        router = erp.load(ADDRESS, revision=sha)
        fetched = {line.rsplit("/", 1)[1] for line in hub.asked if "/resolve/" in line}
        assert fetched == set(files)
        hub.asked.clear()
        erp.load(ADDRESS, revision=sha)
        assert not hub.asked
    expected = erp.load(shared).decide(PROMPTS)
    for again in (router, erp.load(f"{ADDRESS}@{sha}"), erp.load(Path(f"{ADDRESS}@{sha}"))):  # the hub is gone
        np.testing.assert_array_equal(again.decide(PROMPTS).scores, expected.scores)
        np.testing.assert_array_equal(again.decide(PROMPTS).chosen, expected.chosen)


@pytest.mark.parametrize(
    ("run", "options", "words"),
    [
        (ADDRESS, {}, f"run = {ADDRESS}: nothing is no commit, and what a branch or a tag names can be changed"),
        (ADDRESS, {"revision": "main"}, f"run = {ADDRESS}: main is no commit"),
        (f"{ADDRESS}@v1", {}, "v1 is no commit"),
        (f"{ADDRESS}@{SHA[:7]}", {}, "0123456 is no commit"),
        (f"{ADDRESS}@{SHA.upper()}", {}, "is no commit"),
        (
            "hf://router@" + SHA,
            {},
            "run = hf://router@0123456789abcdef0123456789abcdef01234567: is no address on the hub",
        ),
        (f"{ADDRESS}/more@{SHA}", {}, "is no address on the hub; give hf://<owner>/<name>@<the commit's 40"),
        (f"{ADDRESS}@{SHA}", {"revision": SHA[::-1]}, f"revision = {SHA[::-1]}: run = {ADDRESS}@{SHA} names another"),
        ("runs/mine", {"revision": SHA}, f"revision = {SHA}: is for hf://<owner>/<name>; leave it out"),
        (f"{ADDRESS}@{SHA}", {"trust": True}, f"trust = true: no code that run = {ADDRESS} names is run"),
        (f"hf://me/-router-@{SHA}", {}, "is no name that the hub knows"),
    ],
)
def test_an_address_that_pins_nothing_is_refused_before_anything_is_asked(hub, run, options, words):
    assert words in fault(run, **options)
    assert not hub.asked


def test_what_the_hub_refuses_is_one_line_without_the_token(hub, files, monkeypatch):
    sha, secret = hub.put(NAME, files), hub.put("me/secret", files, private=True)
    assert "there is no such repository, or it is private" in fault(f"hf://me/none@{sha}")
    assert "there is no such repository, or it is private" in fault(f"hf://me/secret@{secret}")
    assert "there is no such commit" in fault(f"{ADDRESS}@{SHA}")
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    assert "the hub does not know the token (401)" in (line := fault(f"{ADDRESS}@{sha}"))
    assert "hf_of_nobody" not in line
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    erp.load(f"hf://me/secret@{secret}")
    hub.says = 500
    assert fault(f"{ADDRESS}@{sha}") == f"run = {ADDRESS}@{sha}: the hub answered 500; try again later"


def test_without_a_connection_it_is_one_line(monkeypatch, tmp_path):
    with local_hub(monkeypatch, tmp_path):
        pass
    assert f"run = {ADDRESS}@{SHA}: the hub does not answer (ConnectError)" in fault(f"{ADDRESS}@{SHA}")


def test_a_repository_of_something_else_is_not_fetched(hub, files, monkeypatch):
    sha = hub.put(NAME, {"config.json": b"{}", "model.safetensors": b""})
    assert f"holds no {TENSORS}; give a repository that `erp push` made" in fault(f"{ADDRESS}@{sha}")
    sha = hub.put(NAME, files)
    monkeypatch.setitem(trained_hub.FILES, CONFIG, 10)
    assert f"its {CONFIG} has {len(files[CONFIG]):,} bytes; up to 10 are fetched" in fault(f"{ADDRESS}@{sha}")
    assert not any("/resolve/" in line for line in hub.asked)


def test_a_branch_that_is_called_like_a_commit_is_none(hub, files):
    sha = hub.put(NAME, files)
    hub.branches[SHA] = sha
    assert f"the hub knows this as a name of commit {sha}" in fault(f"{ADDRESS}@{SHA}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: config.update(sha256="0" * 64), "sha256 differs"),
        (lambda config: config.update(format=CHECKPOINT.number + 1), "made by a newer erp"),
        (lambda config: config["card"]["router"].update(_target_="os.system"), "code outside erp is not run"),
        (lambda config: config["card"]["backbone"].update(_target_="erp.files.Path"), "is no class of erp"),
    ],
)
def test_what_was_tampered_with_is_refused_as_in_a_folder(hub, files, change, words):
    sha = hub.put(NAME, edited(files, change))
    assert words in fault(f"{ADDRESS}@{sha}")
