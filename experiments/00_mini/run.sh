#!/usr/bin/env bash
# What is in the table, and is there anything to route? bash run.sh [overrides of erp describe], e.g. for a table of one's own
#   bash run.sh data=table data.path=scores.parquet reward_model.name=a,b
# How the table that ships was made is in collect.sh.
set -euo pipefail
cd "$(dirname "$0")"
python results.py results.csv "$@"
python plot.py results.csv figure.png
