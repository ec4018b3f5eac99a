#!/usr/bin/env bash
# Does routing beat the best single member at equal cost? bash run.sh [overrides of the sweep], e.g. for a table of one's own
#   bash run.sh data=table data.path=scores.parquet reward_model.name=a,b
set -euo pipefail
cd "$(dirname "$0")"
erp train -m experiment=routing out=../runs tracking=off figures=false "$@"
erp compare ../runs/sweeps/routing.json out=../runs output=csv table=pairs > pairs.csv
python results.py ../runs/sweeps/routing.json results.csv curves.csv
python plot.py curves.csv figure.png
