#!/usr/bin/env bash
# Does it pay to look at rewards before deciding? bash run.sh [overrides of the sweep], e.g. for a table of one's own
#   bash run.sh data=table data.path=scores.parquet reward_model.name=a,b
set -euo pipefail
cd "$(dirname "$0")"
erp train -m experiment=rewards_at_run_time out=../runs tracking=off figures=false "$@"
cascades="policy=cascade policy.bar=constant,predicted policy.returns_best=true"
erp train -m $cascades reward_model.name=verifier,yes_logit split.seed=0,1,2 sweep=rewards_at_run_time_best out=../runs tracking=off figures=false "$@"
best="router=best_route policy=best_route"
erp train -m $best reward_model.name=verifier,yes_logit split.seed=0,1,2 sweep=rewards_at_run_time_best_route out=../runs tracking=off figures=false "$@"
sweeps=../runs/sweeps/rewards_at_run_time
python results.py $sweeps.json ${sweeps}_best.json ${sweeps}_best_route.json results.csv curves.csv
python optimum.py optimum.csv
python plot.py curves.csv figure.png
