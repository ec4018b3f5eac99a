"""Reward models behind an address: the tests' own server speaks each shape, and runs the very model that is judged."""

import json
import threading

import pytest
import torch

from erp import cli
from erp.collect.rewards.base import Pair
from erp.collect.rewards.pair import PairEncoder
from erp.collect.rewards.sequence import SequenceClassifier
from erp.collect.rewards.served import ServedRewardModel
from erp.engines.base import Failure
from erp.errors import ErpError
from tests.collect.commands import command, samples
from tests.collect.rewards.tiny import PAIRS, deberta, llama
from tests.engines.chat_server import ChatServer, Reply, error

LOCAL = {"max_tokens": 256, "dtype": "float32", "device": "cpu"}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return deberta(tmp_path_factory.mktemp("deberta"))


def served(server, **options):
    given = {"retries": 1, "timeout_s": 5.0, "backoff_s": 0.001, "backoff_max_s": 0.01, "max_tokens": 256, **options}
    return ServedRewardModel("org/rm", base_url=server.url.removesuffix("/v1"), **given)


def logits(network, **inputs):
    with torch.inference_mode():
        return network(**{name: torch.tensor([ids]) for name, ids in inputs.items()}).logits[0].tolist()


def numbered(name, values):
    """Items with their index, the last first: the index says whose they are."""
    return {"data": [{"index": i, name: value} for i, value in enumerate(values)][::-1]}


def speaks(api, network, tokenizer):
    """The answers of a server of that kind which holds this network."""

    def answer(body, number):
        if api == "sglang":
            return Reply([{"embedding": logits(network, input_ids=ids)} for ids in body["input_ids"]])
        if api == "tei":
            assert (body["raw_scores"], body["truncate"]) == (True, False)
            scores = [logits(network, **tokenizer(*texts)) for texts in body["inputs"]]
            return Reply([[{"score": score, "label": "LABEL_0"} for score in of_text] for of_text in scores])
        assert body["use_activation"] is False
        if api == "vllm_score":
            texts = zip(body["text_1"], body["text_2"], strict=True)
            return numbered("score", [logits(network, **tokenizer(*pair))[0] for pair in texts])
        if "messages" in body:
            text = tokenizer.apply_chat_template(body["messages"], tokenize=False, **body["chat_template_kwargs"])
            return numbered(
                "probs", [logits(network, input_ids=tokenizer(text, add_special_tokens=False)["input_ids"])]
            )
        scores = [logits(network, input_ids=ids) for ids in body["input"]]
        if api == "vllm_classify":
            return numbered("probs", scores)
        per_token = [[[0.0], [0.0], score] for score in scores]
        return numbered("data", per_token if number % 2 else scores)  # of the text, or of each of its tokens

    return answer


PATHS = {"vllm_classify": "/classify", "vllm_pooling": "/pooling", "sglang": "/classify"}


@pytest.mark.parametrize("api", PATHS)
def test_a_served_decoder_scores_as_it_does_here(decoder, api):
    folder, network, tokenizer = decoder
    here = SequenceClassifier(folder, **LOCAL).score(PAIRS)
    with ChatServer(speaks(api, network, tokenizer)) as server:
        there = served(server, api=api, tokenizer=folder, batch=2).score(PAIRS)
    assert there == pytest.approx(here, abs=1e-5)
    assert len({round(score, 4) for score in there}) == len(PAIRS)
    assert [path for _, path, _, _ in server.calls] == [PATHS[api]] * 3
    sent = [ids for body in server.bodies for ids in body.get("input", body.get("input_ids"))]
    assert all(ids.count(tokenizer.bos_token_id) == 1 == 1 + ids.index(tokenizer.bos_token_id) for ids in sent)


@pytest.mark.parametrize("tokenizer_at_hand", [True, False])
@pytest.mark.parametrize("api", ["vllm_score", "tei"])
def test_a_served_encoder_scores_as_it_does_here(encoder, api, tokenizer_at_hand):
    folder, network, tokenizer = encoder
    here = PairEncoder(folder, attention="eager", **LOCAL).score(PAIRS)
    with ChatServer(speaks(api, network, tokenizer)) as server:
        there = served(server, api=api, tokenizer=folder if tokenizer_at_hand else None).score(PAIRS)
    assert there == pytest.approx(here, abs=1e-5)
    assert len(server.calls) == 1


def test_without_the_tokenizer_the_server_lays_the_conversation_out(decoder):
    folder, network, tokenizer = decoder
    here = SequenceClassifier(folder, **LOCAL).score(PAIRS)
    with ChatServer(speaks("vllm_classify", network, tokenizer)) as server:
        assert served(server).score(PAIRS) == pytest.approx(here, abs=1e-5)
    assert len(server.calls) == len(PAIRS)


@pytest.mark.parametrize("tokenizer_at_hand", [True, False])
def test_a_conversation_is_scored_by_a_server_as_it_is_here(decoder, tokenizer_at_hand):
    folder, *model = decoder
    talk = [
        {"role": "user", "content": "Salt?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Yeast?"},
    ]
    pairs = [Pair("all of it", "Mix it.", messages=tuple(talk)), PAIRS[0]]
    with ChatServer(speaks("vllm_classify", *model)) as server:
        scores = served(server, tokenizer=folder if tokenizer_at_hand else None).score(pairs)
    assert scores == pytest.approx(SequenceClassifier(folder, **LOCAL).score(pairs), abs=1e-5)


FORMAT = "{% for turn in messages %}{{ turn.role + ': ' + turn.content + '<|end|>' }}{% endfor %}"


@pytest.mark.parametrize(
    "options", [{"system": "Be brief."}, {"chat_template": FORMAT}, {"system": "Be brief.", "chat_template": FORMAT}]
)
def test_a_format_and_a_system_message_are_those_of_the_same_model_here(decoder, options):
    folder, network, tokenizer = decoder
    plain = SequenceClassifier(folder, **LOCAL).score(PAIRS)
    here = SequenceClassifier(folder, **LOCAL, **options).score(PAIRS)
    assert max(abs(one - other) for one, other in zip(plain, here, strict=True)) > 1e-3
    with ChatServer(speaks("vllm_pooling", network, tokenizer)) as server:
        model = served(server, api="vllm_pooling", tokenizer=folder, **options)
        assert model.score(PAIRS) == pytest.approx(here, abs=1e-5)
        assert options.items() <= model.about().items()
    if "chat_template" not in options:  # the server lays it out
        with ChatServer(speaks("vllm_classify", network, tokenizer)) as server:
            assert served(server, **options).score(PAIRS) == pytest.approx(here, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"chat_template": FORMAT}, "chat_template: the server applies its own where no tokenizer is given; leave it"),
        ({"api": "tei", "system": "Be brief."}, "chat_template, system: org/rm is fed no chat template"),
        ({"api": "vllm_score", "tokenizer": "org/rm", "chat_template": FORMAT}, "org/rm is fed no chat template"),
    ],
)
def test_a_format_that_nothing_is_laid_out_in_is_refused(options, why):
    with pytest.raises(ErpError, match=why):
        ServedRewardModel("org/rm", **options)


@pytest.mark.parametrize("api", ["vllm_classify", "tei"])
def test_what_is_cut_is_what_is_cut_here_and_said(decoder, encoder, api):
    folder, network, tokenizer = encoder if api == "tei" else decoder
    pairs = [*PAIRS, Pair("bake " * 60, "Knead it, let it rise. " * 20)]
    more = LOCAL | {"max_tokens": 40} | ({"attention": "eager"} if api == "tei" else {})
    local = (PairEncoder if api == "tei" else SequenceClassifier)(folder, **more)
    here = local.score(pairs)
    with ChatServer(speaks(api, network, tokenizer)) as server:
        used = served(server, api=api, tokenizer=folder, max_tokens=40)
        assert used.score(pairs) == pytest.approx(here, abs=1e-5)
    assert used.counts == local.counts
    assert min(used.counts["truncated"], used.counts["prompt_truncated"]) >= 1


def length(body, number):
    """Scores a conversation by the length of its response."""
    return numbered("probs", [[float(len(body["messages"][-1]["content"]))]])


def test_a_text_that_is_refused_fails_alone():
    def short_only(body, number):
        long = any(len(text) > 9 for text in body["text_2"])
        return error(400, "too long") if long else numbered("score", [float(len(text)) for text in body["text_2"]])

    with ChatServer(short_only) as server:
        scores = served(server, api="vllm_score").score([Pair("p", "x" * n) for n in (3, 4, 30, 5)])
    assert scores == [3.0, 4.0, Failure("400: too long", final=True), 5.0]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (error(500, "out of memory"), "500: out of memory (attempt 2, the last)"),
        (error(429, "busy"), "429: busy (attempt 2, the last)"),
        (Reply("<html>Bad gateway</html>"), "200, but no scores: <html>Bad gateway</html> (attempt 2, the last)"),
        (Reply({"choices": []}), '200, but no scores: {"choices": []} (attempt 2, the last)'),
        (Reply([]), "200, but no scores: [] (attempt 2, the last)"),
    ],
)
def test_a_call_that_has_no_scores_is_a_failure_in_a_line(reply, why):
    with ChatServer(lambda body, number: reply) as server:
        assert served(server, api="vllm_score").score([Pair("p", "r")] * 2) == [Failure(why)] * 2
    assert len(server.calls) == 2


def test_a_busy_server_is_asked_again():
    with ChatServer(lambda body, number: length(body, number) if number else error(503, "loading")) as server:
        assert served(server).score([Pair("p", "rrr")]) == [3.0]


@pytest.mark.parametrize(
    ("status", "remedy"), [(404, r"what stands before /classify"), (401, r"export a key"), (307, r"without /classify$")]
)
def test_what_every_call_would_be_told_is_told_once(status, remedy):
    with (
        ChatServer(lambda body, number: error(status, "no")) as server,
        pytest.raises(ErpError, match=rf"^reward_model\.base_url = \S+: answers {status} \(no\); .*{remedy}") as caught,
    ):
        served(server).score([Pair("p", "r")] * 3)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ([[0.3, 0.7], [0.5, 0.5]], "gives 2 numbers for a text"),
        ([[1.5]], "gives 1 scores for 2 texts"),
        ([[1.5], [2.5], [3.5]], "gives 3 scores for 2 texts"),
        ([["LABEL_0"], ["LABEL_1"]], "gives 'LABEL_0' for a score"),
        ([[1.0], [1.0]], "probabilities"),  # softmax over the one label
    ],
)
def test_numbers_that_are_no_scores_are_refused_by_name(numbers, why):
    with (
        ChatServer(lambda body, number: Reply([[{"score": one} for one in of_text] for of_text in numbers])) as server,
        pytest.raises(ErpError, match=rf"^reward_model\.api = tei: org/rm at http\S+/predict .*{why}"),
    ):
        served(server, api="tei").score([Pair("p", "r"), Pair("p", "s")])


def sigmoid(body, number):
    return numbered("score", [1 / (1 + 2.0 ** -len(text)) for text in body["text_2"]])


def test_probabilities_are_refused_before_any_of_them_is_kept():
    pairs = [Pair("p", "r" * n) for n in range(40)]
    with ChatServer(sigmoid) as server:
        came = []
        with pytest.raises(ErpError, match=r"probabilities, no logits; .* reward_model.unit_scores=true"):
            came += served(server, api="vllm_score", batch=4).each(pairs)
        assert not came
        kept = served(server, api="vllm_score", batch=4, unit_scores=True).score(pairs)
    assert kept == pytest.approx([1 / (1 + 2.0**-n) for n in range(40)])


@pytest.mark.parametrize("written", ["NaN", "null", "Infinity"])
def test_a_score_that_is_not_finite_is_missing_and_counted(written):
    body = json.dumps(numbered("score", [2.5, "?"])).replace('"?"', written)
    with ChatServer(lambda _, number: Reply(body)) as server:
        used = served(server, api="vllm_score")
        assert used.score([Pair("p", "r"), Pair("p", "s")]) == [2.5, None]
    assert used.counts == {"non_finite": 1}


def test_calls_are_made_at_once_and_scores_come_as_answers_do():
    enough = threading.Event()

    def first_pair_late(body, number):
        answer = length(body, number)
        if number >= 30:
            enough.set()
        if answer["data"][0]["probs"] == [1.0]:
            enough.wait(10)
        return answer

    pairs = [Pair("p", "r" * n) for n in range(1, 41)]
    with ChatServer(first_pair_late) as server:
        came = list(served(server, concurrency=8, timeout_s=20.0).each(pairs))
    assert [index for index, _ in came].index(0) >= 16
    assert [score for _, score in sorted(came)] == [float(n) for n in range(1, 41)]


def test_settings():
    with pytest.raises(ErpError, match=r"reward_model.tokenizer = null: SGLang's /classify applies no template"):
        ServedRewardModel("m", api="sglang")
    with pytest.raises(ErpError, match=r"reward_model.batch = 0: give 1 or more"):
        ServedRewardModel("m", batch=0)
    with pytest.raises(ErpError, match=r"reward_model.base_url = nowhere: is no address; give http\S+<port>\]$"):
        ServedRewardModel("m", base_url="nowhere")


def test_a_collection_scored_through_servers(decoder, tmp_path, capsys):
    """The same store; another address is the same reward model, another model is not."""
    folder, network, tokenizer = decoder
    model = SequenceClassifier(folder, **LOCAL)

    def scored(server, *more):
        base = f"reward_model.base_url={server.url.removesuffix('/v1')}"
        return command(tmp_path, "reward_model=served", f"reward_model.model={folder}", base, *more, prompts=2)

    with ChatServer(speaks("vllm_classify", network, tokenizer)) as server:
        assert cli.main(scored(server, "reward_model.note=by hand")) == 0, capsys.readouterr().err
    assert "\nnote: by hand\n" in capsys.readouterr().out
    with ChatServer(speaks("vllm_classify", network, tokenizer)) as another:
        assert cli.main(scored(another)) == 0
        assert cli.main(scored(another, "reward_model.model=m", f"reward_model.tokenizer={folder}")) == 2
        assert "reward_model.name = served: " in (said := capsys.readouterr().err)
        assert "with other model; give reward_model.name=<another>" in said
    assert not another.calls
    rows = samples(tmp_path, "served")
    source = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    prompts = {row["prompt_id"]: row["prompt"] for row in source}
    pairs = [Pair(prompts[p], r) for p, r in zip(rows["prompt_id"], rows["response"], strict=True)]
    assert rows["reward"].tolist() == pytest.approx(model.score(pairs), abs=1e-5)
    manifest = json.loads((tmp_path / "table/rewards/served/manifest.json").read_text())
    assert (manifest["api"], manifest["tokenizer"], manifest["note"]) == ("vllm_classify", folder, "by hand")
