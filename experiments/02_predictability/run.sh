#!/usr/bin/env bash
# How well does a prompt tell the reward? bash run.sh [overrides of the sweep], e.g. for a table of one's own
#   bash run.sh data=table data.path=scores.parquet reward_model.name=a,b
set -euo pipefail
cd "$(dirname "$0")"
erp train -m experiment=predictability out=../runs tracking=off figures=false "$@"
erp compare ../runs/sweeps/predictability.json out=../runs output=csv table=members > results.csv
python plot.py results.csv figure.png ../runs/sweeps/predictability.json
