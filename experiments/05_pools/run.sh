#!/usr/bin/env bash
# What is a member worth, and does routing gain with the pool? bash run.sh [overrides of the sweep], e.g.
#   bash run.sh data=table data.path=scores.parquet
set -euo pipefail
cd "$(dirname "$0")"
erp train -m experiment=pools out=../runs tracking=off figures=false "pool.members=$(python subsets.py "$@")" "$@"
python results.py ../runs/sweeps/pools.json > results.csv
python plot.py results.csv figure.png
