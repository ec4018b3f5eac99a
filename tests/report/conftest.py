"""Results by hand: a run folder's numbers without a run."""

import copy
import json

import numpy as np
import pandas as pd
import pytest


def interval(mean, half):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def row(reward, cost, base, headroom=None, half=0.02, **more):
    half = 0.0 if reward == base else half
    gain = interval(reward - base, half)
    share = None if headroom is None else (reward - base) / headroom
    spread = None if headroom is None else {"low": share - half / headroom, "high": share + half / headroom}
    return {
        "reward": reward, "cost": cost, "headroom_recovered": share, "headroom_interval": spread,
        "gain_vs_best_single": gain, **more,
    }  # fmt: skip


def curve(start, end, points, bend):
    """From (cost, reward) at lambda = 0 down to the cheapest member, bent upward."""
    t = np.linspace(0, 1, points)
    cost = start[0] + (end[0] - start[0]) * t
    reward = end[1] + (start[1] - end[1]) * (1 - t**bend)
    lambdas = [*np.linspace(0, 50, points - 1).tolist(), None]
    return {"lambda": lambdas, "cost": cost.tolist(), "reward": reward.tolist()}


def make_results(
    members=("tiny-1b", "small-7b", "large-70b"),
    rewards=(0.42, 0.55, 0.61),
    costs=(0.0002, 0.001, 0.006),
    unit="USD per prompt",
    kind="usd",
    router=0.65,
    category=0.62,
    oracle=0.80,
    half=0.02,
    lambda_=0.0,
    router_name="ridge",
    samples=(4, 4),
    scale="reward",
    seed=0,
    name=None,
):
    """Numbers of a plausible run; rewards and costs belong to the members one by one."""
    rewards, costs = np.array(rewards, dtype=float), np.array(costs, dtype=float)
    best, cheap = int(rewards.argmax()), int(costs.argmin())
    base, headroom = float(rewards[best]), (oracle - rewards.max()) or None
    shares = (rewards - rewards.min() + 0.05) ** 2
    shares = shares / shares.sum()
    end = (float(costs[cheap]), float(rewards[cheap]))
    spot = float(costs @ shares)
    curves = {
        "router": curve((spot, router), end, 60, 3),
        "oracle": curve((spot * 0.8, oracle), (end[0] * 0.95, end[1]), 60, 5),
    }
    if category is not None:
        curves["category_mean"] = curve((costs[best] * 0.9, category), end, 8, 2)
    thin = slice(None, None, 3)
    line = {key: values[thin] for key, values in curves["router"].items()}
    mix = np.linspace(0, 1, len(line["cost"]))[:, None]
    along = (1 - mix) * shares + mix * np.eye(len(members))[cheap]
    differ = kind != "none" and len(set(costs.tolist())) > 1
    areas = {"router": 0.6, "best_single": 0.5, "category_mean": 0.55 if category else None, "oracle": 0.75}
    at_policy = int(20 * min(lambda_ / 50, 1)) if lambda_ != float("inf") else -1
    results = {
        "run": {
            "name": name or f"{router_name}-minilm-0123456789", "router": router_name, "backbone": "minilm",
            "reward_model": "skywork", "table": "scores.parquet", "members": list(members), "seed": 0,
            "split_by": "group",
            "split_seed": seed, "lambda": lambda_, "scale": scale, "chosen": {"alpha": 3.1}, "seconds": 12.3,
            "sweep": None,
        },
        "data": {
            "prompts": 2000, "members": len(members), "train": 800, "validation": 200, "test": 1000, "excluded": 7,
            "categories": None if category is None else 5, "samples_per_cell": list(samples),
            "notes": ["10 of 44,275 cells are missing"],
        },
        "cost": {
            "kind": kind, "unit": unit, "range": [float(costs.min()), float(costs.max())],
            "notes": ["prompt tokens are estimated"],
        },
        "prediction": {
            "members": {
                m: {
                    "r2": 0.31 + 0.01 * (i % 9) if scale == "reward" else None,
                    "rmse": 0.2 if scale == "reward" else None,
                    "r2_ceiling": None if samples[1] == 1 else 0.82,
                }
                for i, m in enumerate(members)
            },
            "r2_pooled": 0.33 if scale == "reward" else None,
            "pairwise_order_accuracy": 0.7, "top1_accuracy": 0.55,
            "pairwise_order_accuracy_constant": 0.65, "top1_accuracy_constant": 0.5,
        },
        "routing": {
            "random": row(float(rewards.mean()), float(costs.mean()), base, headroom),
            "best_single": row(base, float(costs[best]), base, headroom, member=members[best]),
            "best_single_hindsight": row(base, float(costs[best]), base, headroom, member=members[best]),
            "category_mean": None if category is None else row(category, costs[best] * 0.9, base, headroom, half),
            "oracle": row(oracle, spot * 0.8, base, headroom),
            "router": {**row(router, spot, base, headroom, half), "constant_member": None},
            "gain_vs_category_mean": None if category is None else interval(router - category, half),
            "members": {
                m: {
                    "reward": float(rewards[i]), "cost": float(costs[i]), "share": float(shares[i]),
                    "gain_vs_best_single": interval(float(rewards[i]) - base, 0.0 if i == best else 0.015),
                }
                for i, m in enumerate(members)
            },
        },
        "policy": {
            "lambda": lambda_, "reward": line["reward"][at_policy], "cost": line["cost"][at_policy],
            "gain_vs_best_single": interval(line["reward"][at_policy] - base, half),
            "best_single_member": members[best], "best_single_reward": base, "best_single_cost": float(costs[best]),
            "utility": None, "utility_gain_vs_best_single": None if lambda_ == float("inf") else interval(0.05, half),
            "shares": dict(zip(members, along[at_policy].tolist(), strict=True)),
        },
        "oracle_split_half": None if samples[1] == 1 else {"reward": oracle - 0.05, "sd_over_halves": 0.01},
        "curves": curves,
        "interval": {
            **line, "low": [v - half for v in line["reward"]], "high": [v + half for v in line["reward"]],
        },
        "audc": areas if differ else dict.fromkeys(areas),
        "shares": {
            "lambda": line["lambda"], "cost": line["cost"],
            "members": {m: along[:, i].tolist() for i, m in enumerate(members)},
        },
        "regret": oracle - router, "objective": {"name": "utility", "value": 0.64}, "level": 0.95, "verdict": "",
    }  # fmt: skip
    from erp.files import jsonable

    return json.loads(json.dumps(jsonable(copy.deepcopy(results)), allow_nan=False))


def make_predictions(results, prompts=120, seed=0):
    """Predictions of a run: a validation half that no figure may show, and a missing cell."""
    random = np.random.default_rng(seed)
    frames = []
    for name, member in results["routing"]["members"].items():
        predicted = member["reward"] + 0.1 * random.standard_normal(2 * prompts)
        observed = predicted + 0.2 * random.standard_normal(2 * prompts)
        observed[0] = np.nan
        frames.append(
            pd.DataFrame(
                {
                    "prompt_id": [f"p{i}" for i in range(2 * prompts)],
                    "split": np.repeat(["test", "validation"], prompts),
                    "model": name,
                    "predicted": predicted,
                    "observed": observed,
                    "count": 4,
                    "predicted_cost": member["cost"],
                    "cost": member["cost"],
                    "chosen": False,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def many_members(count=55):
    random = np.random.default_rng(3)
    names = tuple(f"vendor-{i % 7}/family-{i:02d}-instruct" for i in range(count))
    costs = 10 ** random.uniform(-5, -2, count)
    rewards = np.clip(0.5 + 0.1 * np.log10(costs / 1e-3) + 0.1 * random.standard_normal(count), 0.02, 0.75)
    return names, rewards, costs


CASES = {
    "plain": {},
    "cheaper": {"lambda_": 10.0},
    "free": {"kind": "none", "unit": "none", "costs": (0.0, 0.0, 0.0)},
    "nothing": {"router": 0.61, "category": 0.61, "oracle": 0.61, "half": 0.0},
    "single_sample": {"samples": (1, 1), "oracle": 1.6, "category": None},
    "ordinal": {"scale": "ordinal", "router_name": "softmax"},
    "loses": {"router": 0.55},
    "undecided": {"router": 0.615},
    "flops": {"kind": "flops", "unit": "FLOPs per prompt", "costs": (2.1e12, 1.4e13, 1.4e14), "lambda_": float("inf")},
    "many": dict(zip(("members", "rewards", "costs"), many_members(), strict=True)) | {"router": 0.78, "oracle": 0.95},
}


@pytest.fixture
def results():
    """Makes results by the name of a case, or by keywords over it."""
    return lambda case="plain", **more: make_results(**{**CASES[case], **more})


@pytest.fixture
def predictions():
    """Makes the predictions that belong to results."""
    return make_predictions
