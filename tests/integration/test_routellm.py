"""RouteLLM's routers on RouteLLM's own table, against TF-IDF, SVD and ridge of scikit-learn on the same prompts."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from erp.programs.train import train

pytestmark = [pytest.mark.tables, pytest.mark.slow]
WEAK, STRONG = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"
SEEDS = (0, 1, 2)


def recovered(score, gap):
    """APGR: the mean share of the gap, over shares of calls from none to all, of those that score highest."""
    gained = np.append(0, np.cumsum(gap[np.argsort(-score, kind="stable")])) / gap.sum()
    return np.trapezoid(gained, dx=1 / len(gap))


def simple(prompts, gap, learnt, test):
    """Of scikit-learn alone: fitted on train and validation, at a penalty that suits it."""
    vectors = TfidfVectorizer().fit(prompts[learnt])
    reduced = TruncatedSVD(256, random_state=0).fit(vectors.transform(prompts[learnt]))
    x = {name: reduced.transform(vectors.transform(prompts[part])) for name, part in (("l", learnt), ("t", test))}
    return recovered(Ridge(10.0).fit(x["l"], gap[learnt]).predict(x["t"]), gap[test])


ROUTERS = {
    "similarity_weighted": ["router.gammas=[10,100,1000]"],
    "matrix_factorisation": ["router.noise=0.5", "trainer.average=0.998", "trainer.patience=30"],
    "embedllm": [],
}  # fmt: skip


def test_similarity_weighted_recovers_what_simple_code_does_and_the_others_within_a_hundredth(tables, tmp_path):
    """It is fitted on validation too. One split's APGR has a standard error of about .013, a mean difference .004."""
    path = tables / "routellm2.parquet"
    frame = pd.read_parquet(path)
    rewards = frame.pivot_table(index="prompt_id", columns="model", values="reward").astype(float)
    gap, prompts = rewards[STRONG] - rewards[WEAK], frame.drop_duplicates("prompt_id").set_index("prompt_id")["prompt"]
    found = {name: [] for name in ("simple", *ROUTERS)}
    for seed in SEEDS:
        for router, settings in ROUTERS.items():
            run = train(
                ["experiment=routellm", f"data.path={path}", f"router={router}", *settings, f"split.seed={seed}",
                 "tracking=off", "trainer.progress=false", "figures=false", "bootstrap.draws=100",
                 f"out={tmp_path / 'runs'}", f"cache_dir={tmp_path / 'cache'}"]
            )  # fmt: skip
            pair = run.results["pair"]
            assert (pair["weak"], pair["strong"]) == (WEAK, STRONG)
            found[router].append(pair["apgr"])
        part = pd.read_parquet(run.folder / "split.parquet").set_index("prompt_id")["split"].loc[gap.index]
        learnt, test = part.isin(["train", "validation"]).to_numpy(), (part == "test").to_numpy()
        found["simple"].append(simple(prompts.loc[gap.index].to_numpy(), gap.to_numpy(), learnt, test))
    assert np.mean(found["similarity_weighted"]) >= np.mean(found["simple"]), found
    assert all(np.mean(found[name]) > np.mean(found["simple"]) - 0.01 for name in ROUTERS), found
