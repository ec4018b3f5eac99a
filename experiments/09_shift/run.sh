#!/usr/bin/env bash
# How much of the gain survives on a task never seen? bash run.sh [overrides of the sweep], e.g.
#   bash run.sh data=table data.path=scores.parquet reward_model.name=a
set -euo pipefail
cd "$(dirname "$0")"
here="out=../runs tracking=off figures=false"
erp train -m experiment=shift $here "split.category=$(python categories.py "$@")" "$@"
erp train -m router=ridge,knn,soft_category_mean,category_mean reward_model.name=verifier,yes_logit split.seed=0,1,2,3,4 sweep=shift_seen $here "$@"
python results.py ../runs/sweeps/shift.json ../runs/sweeps/shift_seen.json > results.csv
python plot.py results.csv figure.png
