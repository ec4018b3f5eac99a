#!/usr/bin/env bash
# Which router wins on equal terms? bash run.sh [overrides of the sweep], e.g. the other table of README.md
#   bash run.sh data=table data.path=llmrouter9.parquet reward_model.name=reward
set -euo pipefail
cd "$(dirname "$0")"
erp train -m experiment=routers out=../runs tracking=off figures=false "$@"
erp train -m experiment=routers router=category_mean category=predicted sweep=routers_predicted out=../runs tracking=off figures=false "$@"
sweeps="../runs/sweeps/routers.json ../runs/sweeps/routers_predicted.json"
erp compare $sweeps out=../runs output=csv table=contenders > results.csv
erp compare $sweeps out=../runs output=csv table=pairs > pairs.csv      # against the best of them and best single, p corrected for all differences
python plot.py results.csv figure.png
