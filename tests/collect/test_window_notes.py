"""Texts that a reward model's window cut: counted, said at the end of scoring, and among what is said of the table."""

from __future__ import annotations

import json

import pytest

from erp import cli
from erp.table.read import read_table
from tests.collect.commands import samples
from tests.collect.rewards.tiny import chat_tokenizer, llama

LIMIT = 18


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return llama(tmp_path_factory.mktemp("llama"))[0]


@pytest.fixture
def scored(collect, folder):
    """`scored(*overrides)`: the small collection, scored by a small Llama with a window that some answers overrun."""
    options = {"model": folder, "max_tokens": LIMIT, "dtype": "float32", "device": "cpu"}
    target = "reward_model._target_=erp.collect.rewards.sequence.SequenceClassifier"
    settings = [f"+reward_model.{key}={value}" for key, value in options.items()]
    drops = ["~reward_model.letter", "~reward_model.diary", "~reward_model.broken"]
    return lambda *more: collect(target, *settings, *drops, "reward_model.name=small-rm", *more)


def overruns(tmp_path):
    """Distinct texts of the table, and how many of them are longer than the window, by the tokenizer alone."""
    lines = (tmp_path / "prompts.jsonl").read_text().splitlines()
    prompts = {line["prompt_id"]: line["prompt"] for line in map(json.loads, lines)}
    pairs = samples(tmp_path, None)[["prompt_id", "response"]].drop_duplicates().to_numpy().tolist()
    texts = [f"<s><|user|>\n{prompts[p]}<|end|>\n<|assistant|>\n{said}<|end|>\n" for p, said in pairs]
    tokenizer = chat_tokenizer()
    return len(texts), sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) > LIMIT for text in texts)


def told(tmp_path):
    count, cut = overruns(tmp_path)
    assert 0 < cut < count
    return f"{cut} of {count} responses ({cut / count:.1%}) were cut to fit into max_tokens = {LIMIT}"


def manifest(tmp_path):
    return json.loads((tmp_path / "table/rewards/small-rm/manifest.json").read_text())


def test_how_many_responses_were_cut_is_said_wherever_the_scores_are_used(scored, tmp_path, capsys):
    code, out, err = scored()
    assert code == 0, err
    said = told(tmp_path)
    assert f"note: {said}\n" in out
    assert manifest(tmp_path)["notes"] == [said]
    assert manifest(tmp_path)["scored"] == overruns(tmp_path)[0]
    assert f"small-rm: {said}" in read_table(tmp_path / "table", reward_model="small-rm").notes
    assert cli.main(["describe", "data=table", f"data.path={tmp_path}/table", "reward_model.name=small-rm"]) == 0
    assert said in capsys.readouterr().out
    assert f"note: {said}\n" in scored()[1]  # finished
    assert scored("k=4")[0] == 0  # grown: counted on
    assert manifest(tmp_path)["notes"] == [told(tmp_path)]


def test_a_table_that_an_older_erp_began_tells_no_share(scored, tmp_path):
    assert scored()[0] == 0
    for log in (tmp_path / "table/log/rewards/small-rm").iterdir():
        said = json.loads(log.read_text())
        del said["scored"]
        log.write_text(json.dumps(said))
    assert scored("k=4")[0] == 0
    cut = overruns(tmp_path)[1]
    assert manifest(tmp_path)["notes"] == [f"{cut} responses were cut to fit into max_tokens = {LIMIT}"]
    assert manifest(tmp_path)["scored"] is None


def test_what_a_card_warns_of_is_said_of_the_table_too(collect, tmp_path):
    assert (
        "note: only one prompt's answers compare"
        in collect('+reward_model.note="only one prompt\'s answers compare"')[1]
    )
    assert "letters: only one prompt's answers compare" in read_table(tmp_path / "table").notes
