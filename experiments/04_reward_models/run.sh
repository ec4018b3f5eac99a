#!/usr/bin/env bash
# Route by one reward model, score by another: bash run.sh [overrides of the sweep], e.g. for a table of one's own
#   bash run.sh data=table data.path=scores.parquet reward_model.name=a,b,c
set -euo pipefail
cd "$(dirname "$0")"
erp train -m experiment=reward_models out=../runs tracking=off figures=false "$@"
python results.py ../runs/sweeps/reward_models.json results.csv
python plot.py results.csv figure.png
