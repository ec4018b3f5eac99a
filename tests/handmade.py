"""Results by hand: a run folder's numbers without a run."""

import copy
import json

import numpy as np
import pandas as pd

from erp.units import lambda_phrase, unit_of


def interval(mean, half):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def row(reward, cost, base, headroom=None, half=0.02, **more):
    half = 0.0 if reward == base else half
    gain = interval(reward - base, half)
    share = None if headroom is None else (reward - base) / headroom
    spread = None if headroom is None else {"low": share - half / headroom, "high": share + half / headroom}
    return {
        "reward": reward, "cost": cost, "headroom_recovered": share, "headroom_interval": spread,
        "headroom_split_half_recovered": None, "headroom_split_half_interval": None,
        "gain_vs_best_single": gain, **more,
    }  # fmt: skip


def decomposition(known, prompts):
    variance = {"prompt": 0.05, "member": 0.01, "interaction": 0.02, "error": 0.12}
    return {
        "prompts": prompts if known else 0, "of": prompts, "samples": 4 if known else 0,
        "reason": None if known else "no prompt has two samples of every member",
        "variance": variance if known else None,
        "shares": {name: value / 0.2 for name, value in variance.items()} if known else None,
    }  # fmt: skip


def noise(members, known, categories):
    """The table's own limits; all null at K = 1."""
    gap = {"naive": 0.19, "split_half": 0.14 if known else None, "prompts": 2000}
    point = {
        "prompts": 2000, "samples": 4, "reliability": 0.7, "reliability_of_differences": 0.4, "se_mean": 0.01,
        "se_difference": 0.012,
    }  # fmt: skip
    return {
        "doubt": None,
        "reason": None if known else "not identifiable at K=1",
        "reliability": dict.fromkeys(members, 0.7 if known else None),
        "reliability_pooled": 0.7 if known else None,
        "reliability_of_differences": {"pooled": 0.4, "lowest": 0.3, "highest": 0.5, "pairs": None} if known else None,
        "components": decomposition(known, 2000),
        "budget": [point] if known else None,
        "headroom": gap,
        "categories": None if not categories else {
            name: {
                "prompts": 400, "best": members[-1], "reward": 0.7, "best_single_reward": 0.6,
                "components": decomposition(known, 400), "headroom": gap,
            }
            for name in ("math", "a|b")
        },
    }  # fmt: skip


def curve(start, end, points, bend):
    """From (cost, reward) at lambda = 0 down to the cheapest member, bent upward."""
    t = np.linspace(0, 1, points)
    cost = start[0] + (end[0] - start[0]) * t
    reward = end[1] + (start[1] - end[1]) * (1 - t**bend)
    lambdas = [*np.linspace(0, 50, points - 1).tolist(), None]
    return {"lambda": lambdas, "cost": cost.tolist(), "reward": reward.tolist()}


def disagreement(tested, categories, gain, half):
    """Three prompts of ten tell members apart, and all of the gain lies there."""

    def part(share, gain, headroom):
        return {
            "share": interval(share, 0.02), "gain_vs_best_single": interval(gain, half),
            "gain_vs_category_mean": interval(gain / 2, half) if categories else None,
            "headroom_share": interval(headroom, 0.05) if tested else None,
        }  # fmt: skip

    return {
        "basis": "test" if tested else "observed", "level": 0.05 if tested else None, "prompts": 993,
        "folds": 4 if tested else None, "reason": None if tested else "one sample of a cell",
        "disagree": part(0.3, gain / 0.3, 0.9), "agree": part(0.7, 0.0, 0.1),
    }  # fmt: skip


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
            "split_by": "group", "target": "mean",
            "split_seed": seed, "lambda": lambda_, "scale": scale, "chosen": {"alpha": 3.1}, "seconds": 12.3,
            "sweep": None, "policy": "lambda", "category": "given", "versions": {"erp": "0.1.0"},
        },
        "data": {
            "prompts": 2000, "members": len(members), "train": 800, "validation": 200, "test": 1000, "excluded": 7,
            "categories": None if category is None else 5, "samples_per_cell": list(samples),
            "notes": ["10 of 44,275 cells are missing"], "lacking": {}, "reading": None,
        },
        "cost": {
            "kind": kind, "unit": unit, "range": [float(costs.min()), float(costs.max())],
            "notes": ["prompt tokens are estimated"], "fell_back": None, "read_first": 0.0,
            "shown_unit": unit_of(unit).shown, "shown_size": unit_of(unit).size,
        },
        "prediction": {
            "members": {
                m: {
                    "r2": 0.31 + 0.01 * (i % 9) if scale == "reward" else None,
                    "rmse": 0.2 if scale == "reward" else None,
                    "r2_ceiling": None if samples[1] == 1 else 0.82,
                    "r2_corrected": None if samples[1] == 1 or scale != "reward" else interval(0.4, 0.05),
                    "pearson": 0.6, "spearman": 0.58, "calibration_slope": 1.02, "calibration_intercept": 0.01,
                    "binned_error": 0.03, "auc": None,
                }
                for i, m in enumerate(members)
            },
            "r2_pooled": 0.33 if scale == "reward" else None,
            "r2_pooled_ceiling": None if samples[1] == 1 else 0.8,
            "r2_pooled_corrected": None if samples[1] == 1 or scale != "reward" else interval(0.41, 0.03),
            "r2_differences": 0.12 if scale == "reward" else None,
            "r2_differences_ceiling": None if samples[1] == 1 else 0.5,
            "r2_differences_corrected": None if samples[1] == 1 or scale != "reward" else interval(0.24, 0.03),
            "kendall_tau": 0.35, "kendall_tau_constant": 0.3,
            "pairwise_order_accuracy": 0.7, "top1_accuracy": 0.55,
            "pairwise_order_accuracy_constant": 0.65, "top1_accuracy_constant": 0.5,
        },
        "routing": {
            "random": row(float(rewards.mean()), float(costs.mean()), base, headroom),
            "best_single": row(base, float(costs[best]), base, headroom, member=members[best]),
            "best_single_hindsight": row(base, float(costs[best]), base, headroom, member=members[best]),
            "category_mean": None if category is None else row(category, costs[best] * 0.9, base, headroom, half),
            "category_mean_predicted": None if category is None else row(
                category - 0.005, costs[best] * 0.9, base, headroom, half),
            "oracle": row(oracle, spot * 0.8, base, headroom),
            "router": {
                **row(router, spot, base, headroom, half), "constant_member": None, "p_vs_best_single": 0.001,
                "mcnemar_vs_best_single": None,
            },
            "sample_all": row(oracle, float(costs.sum()), base),
            "cascade": None if kind == "none" else row(
                0.66, spot, base, chain=[members[cheap], members[best]], threshold=0.5),
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
            "name": "lambda", "label": lambda_phrase(lambda_, unit_of(unit)), "notes": [], "promise": None,
            "lambda": lambda_, "reward": line["reward"][at_policy], "cost": line["cost"][at_policy],
            "gain_vs_best_single": interval(line["reward"][at_policy] - base, half),
            "best_single_member": members[best], "best_single_reward": base, "best_single_cost": float(costs[best]),
            "utility": None, "utility_gain_vs_best_single": None if lambda_ == float("inf") else interval(0.05, half),
            "shares": dict(zip(members, along[at_policy].tolist(), strict=True)),
        },
        "equal_cost": {
            name: {
                "reward": router, "cost": spot, "constant": {members[best]: 1.0}, "constant_reward": base,
                "constant_cost": float(costs[best]), "difference": interval(router - base, half),
                "verdict": "yes" if router - base - half > 0 else "no" if router - base + half <= 0 else "undecided",
            }
            for name in ("lambda_0", "policy", "most_reward", "same_reward")
        },
        "chosen_on_validation": {
            "most_reward": 0.0, "same_reward": 12.0, "same_reward_margin": None, "same_reward_difference": None,
            "cascade": None, "cascades": None,
        },
        "rewards_at_run_time": None,
        "predicted_costs": None,
        "disagreement": disagreement(samples[1] > 1, category is not None, router - base, half),
        "aiq": areas if differ else dict.fromkeys(areas),
        "perf_gain": {
            "lambda": 0.0, "reward": router, "cost": spot, "reward_gain": interval(router - base, half),
            "cost_saved": interval(float(costs[best]) - spot, 0.0001), "value": router - base, "ratio": 0.05,
        },
        "cost_save": {
            "lambda": 12.0, "reward": router, "cost": spot, "reward_gain": interval(router - base, half),
            "cost_saved": interval(float(costs[best]) - spot, 0.0001), "value": float(costs[best]) - spot,
            "ratio": 0.3,
        },
        "pair": None if not differ else {
            "weak": members[cheap], "strong": members[best], "weak_reward": 0.42, "strong_reward": base, "apgr": 0.7,
            "cpt_50": 0.3, "cpt_80": None,
        },
        "pareto": None if not differ else {
            "router": {"distance": 0.01, "on_frontier": 0.8, "rivals": [f"member: {members[0]}"]},
        },
        "economics": None if kind == "none" else {
            "labels_learnt_from": 12.0, "labels_table": 24.0, "responses": 8000, "router_per_prompt": None,
            "break_even": {"at": "same_reward", "saving": 0.001, "net_saving": 0.001, "prompts": 12000, "reason": None},
        },
        "noise": noise(members, samples[1] > 1, category is not None),
        "audits": {
            "length_bias": {
                "between": interval(0.1, 0.02), "between_reason": None, "within": None,
                "within_reason": "no cell has two responses", "samples": 8000,
            },
            "paraphrases": None,
        },
        "oracle_split_half": None if samples[1] == 1 else {
            "reward": oracle - 0.05, "sd_over_halves": 0.01, "prompts": 993, "oracle": oracle
        },
        "curves": curves,
        "interval": {
            **line, "low": [v - half for v in line["reward"]], "high": [v + half for v in line["reward"]],
        },
        "audc": areas if differ else dict.fromkeys(areas),
        "shares": {
            "lambda": line["lambda"], "cost": line["cost"],
            "members": {m: along[:, i].tolist() for i, m in enumerate(members)},
            "entropy": [0.9] * len(along), "evenness": [0.8 if len(members) > 1 else None] * len(along),
            "dearest": (along[:, int(costs.argmax())] if differ else np.full(len(along), np.nan)).tolist(),
        },
        "overlaps": None, "regret": oracle - router, "objective": {"name": "utility", "value": 0.64}, "level": 0.95,
        "verdict": "",
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
