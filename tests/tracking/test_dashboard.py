"""The dashboard's layout: what it reads is there, and what is saved is what is laid out."""

import json
import sys
from types import SimpleNamespace

import pytest
import wandb

from erp import cli
from erp.tracking.dashboard import build_workspace
from erp.tracking.layout import COLUMNS, SECTIONS

pytestmark = pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecatedSince20"
)  # inside wandb-workspaces
PANELS = [panel for section in SECTIONS for panel in section.panels]


def nested(values, key):
    for part in key.split("."):
        values = values[part]
    return values


def test_every_key_that_a_panel_reads_is_there_in_a_run(trained):
    _, run = trained
    for panel in PANELS:
        for place, key in panel.reads():
            if place == "summary":
                assert run.summary[key] is not None, key
            elif place == "config":
                assert nested(run.config, key), key
            elif place == "history":
                assert any(key in row for row in run.history), key
            elif place == "figure":
                assert run.media(key)["_type"] == "image-file", key
            else:
                assert key in run.table(place.removeprefix("tables/")), (place, key)
    assert set(COLUMNS) <= set(run.summary)


def test_the_workspace_holds_the_sections_and_every_key():
    spec = build_workspace("project", "team")._spec["spec"]["section"]
    sections = spec["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == [section.question for section in SECTIONS]
    for laid_out, saved in zip(SECTIONS, sections, strict=True):
        for panel, content in zip(laid_out.panels, saved["panels"], strict=True):
            text = json.dumps(content["config"])
            for place, key in panel.reads():
                head, _, tail = key.partition(".")
                assert (f"{head}.value.{tail}" if place == "config" else key) in text
            assert panel.kind == "importance" or panel.title in text
    shown = spec["runSets"][0]["runFeed"]["columnPinned"]
    assert set(shown) == {"run:displayName", *(f"summary:{key}" for key in COLUMNS)}


def test_a_dry_run_prints_the_layout_and_needs_nothing(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert cli.main(["dashboard", "dry_run=true"]) == 0
    out = capsys.readouterr().out
    assert all(section.question in out for section in SECTIONS)
    assert all(f"{place}: {key}" in out for panel in PANELS for place, key in panel.reads())


def test_it_is_saved_in_the_default_entity_s_project(capsys, monkeypatch):
    from wandb_workspaces.workspaces import interface

    saved = []

    def upsert(view):
        saved.append(view)
        return {"upsertView": {"view": {"name": "nw-abc-v", "id": "1"}}}

    monkeypatch.setattr(wandb, "Api", lambda: SimpleNamespace(default_entity="me"))
    monkeypatch.setattr(interface.internal, "upsert_view2", upsert)
    monkeypatch.setattr(interface, "get_app_url", lambda api: "https://wandb.example")
    assert cli.main(["dashboard", "project=mine"]) == 0
    assert capsys.readouterr().out == "https://wandb.example/me/mine?nw=abc\n"
    assert [(view.entity, view.project) for view in saved] == [("me", "mine")]


@pytest.mark.parametrize("more", [[], ["project=mine", "entity=team"]])
def test_without_a_login_it_is_one_line(more, capsys):
    assert cli.main(["dashboard", *more]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("erp dashboard: ")]
    assert all(word in line for word in ("project = ", "wandb login", "dry_run=true"))


def test_without_the_package_it_says_which_one(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    assert cli.main(["dashboard"]) == 2
    assert capsys.readouterr().err == (
        "erp dashboard: dashboard: wandb-workspaces is not installed; `pip install 'erp[dashboard]'`, or dry_run=true "
        "to print the layout\n"
    )


def test_bad_keys_are_named(capsys):
    assert cli.main(["dashboard", "projct=mine", "dry_run=true"]) == 2
    assert "projct" in capsys.readouterr().err
    assert cli.main(["dashboard", "project=''", "dry_run=true"]) == 2
    assert "project" in capsys.readouterr().err
