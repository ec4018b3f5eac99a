"""`erp push`: what `erp export` writes lies on the hub as one commit, which `erp route` and `erp serve` take."""

import json
from pathlib import Path

import pytest

from erp.config import validate
from erp.serving.opening import opened
from tests.trained.hub import TOKEN, local_hub

FILES = {"router.safetensors", "config.json", "README.md", "origin.json"}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with local_hub(monkeypatch, tmp_path) as found:
        yield found


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def lying(hub, name="me/router"):
    """The repository's files, as the last commit has them."""
    return next(reversed(hub.repositories[name][1].values()), {})


def test_a_run_is_pushed_as_it_is_exported_and_asked_from_the_hub(erp, run, hub, token):
    answer = erp("push", f"run={run}", "to=me/router", "message=First")
    sha = next(iter(hub.repositories["me/router"][1]))
    assert (answer.code, answer.out) == (0, f"hf://me/router@{sha}\n")
    assert answer.err == f'note: erp.load("hf://me/router", revision="{sha}")\n'
    assert hub.repositories["me/router"][0]  # private, as nothing else was said
    assert erp("export", f"run={run}", "out=shared").code == 0
    assert lying(hub) == {file.name: file.read_bytes() for file in Path("shared").iterdir()}
    assert hub.messages == ["First"]

    Path("prompts.txt").write_text("".join(f"{word} {i}\n" for word in ("What is", "prove") for i in range(20)))
    ask = ("route", "input=prompts.txt", "output=json")
    assert erp(*ask, f"run={answer.last}").out == erp(*ask, f"run={run}").out != ""
    assert "is an export already" in erp("export", f"run={answer.last}", "out=again").err
    assert "no config.yaml there" in erp("evaluate", f"run={answer.last}").err


def test_an_export_is_pushed_over_an_earlier_one(erp, run, hub, token):
    assert erp("push", f"run={run}", "to=me/router", "private=false").code == 0
    assert not hub.repositories["me/router"][0]
    assert erp("export", f"run={run}", "out=shared").code == 0
    Path("shared/origin.json").unlink()
    Path("shared/secrets.txt").write_text("not sent")
    line = "erp push: to = me/router: is public already; give private=false, or a new repository"
    assert erp("push", "run=shared", "to=me/router").faults == [line]
    assert erp("push", "run=shared", "to=me/router", "private=false").code == 0
    assert set(lying(hub)) == FILES - {"origin.json"}  # whose prices were of the router before


def test_a_gateway_serves_it_at_the_prices_that_came_along(erp, run, hub, token):
    assert erp("export", f"run={run}", "out=shared").code == 0
    members = json.loads(Path("shared/config.json").read_text())["card"]["members"]
    prices = {name: {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0} for name in members}
    Path("shared/origin.json").write_text(json.dumps({"table": "", "members": prices}))
    address = erp("push", "run=shared", "to=me/router").last
    gateway = {"members": [{"name": name, "base_url": "http://127.0.0.1:9/v1"} for name in members],
               "budget": {"usd_per_day": 1}}  # fmt: skip
    app = opened(validate("serve", {"run": address, "gateway": gateway}))
    assert list(app.gateway.served.predictor.members) == members


@pytest.mark.parametrize(
    ("token", "to", "words"),
    [
        (None, "me/router", "token_env = HF_TOKEN: is not set; make a token"),
        ("hf_of\x07me", "me/router", "token_env = HF_TOKEN: its value is no token (odd characters)"),
        ("hf_of_nobody", "me/router", "to = me/router: the hub does not know the token (401)"),
        (TOKEN, "you/router", "to = you/router: the token may not do this (403); give one that may"),
        (TOKEN, "router", "to = router: is no repository's name; give <owner>/<name>"),
        (TOKEN, "me/-router-", "to = me/-router-: is no name that the hub knows"),
        (TOKEN, "me/other", "to = me/other: holds model.bin, weights.txt; give a new repository, or one of an earlier"),
    ],
)
def test_what_cannot_be_pushed_is_one_line_without_the_token(erp, run, hub, monkeypatch, token, to, words):
    hub.put("me/other", dict.fromkeys(("model.bin", "weights.txt", "config.json", ".gitattributes"), b""), private=True)
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    answer = erp("push", f"run={run}", f"to={to}")
    assert (answer.code, answer.out, len(answer.faults)) == (2, "", 1)
    assert answer.err.startswith(f"erp push: {words}")
    assert token is None or token not in answer.err
    assert not hub.messages


def test_a_router_that_cannot_be_read_is_not_pushed(erp, run, hub, token):
    assert erp("export", f"run={run}", "out=shared").code == 0
    with Path("shared/router.safetensors").open("ab") as file:
        file.write(b"more")
    answer = erp("push", "run=shared", "to=me/router")
    assert (answer.code, len(answer.faults)) == (2, 1)
    assert "sha256 differs" in answer.err
    assert "there is no such folder" in erp("push", "run=nowhere", "to=me/router").err
    assert not hub.asked


def test_without_a_connection_it_is_one_line(erp, run, monkeypatch, tmp_path):
    with local_hub(monkeypatch, tmp_path):
        pass
    monkeypatch.setenv("ANOTHER", TOKEN)
    answer = erp("push", f"run={run}", "to=me/router", "token_env=ANOTHER")
    assert answer.faults == [
        "erp push: to = me/router: the hub does not answer (ConnectError); try again with a connection to it"
    ]
