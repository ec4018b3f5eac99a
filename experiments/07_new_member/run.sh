#!/usr/bin/env bash
# How many labels does a new member need? bash run.sh [overrides], e.g. for a table of one's own
#   bash run.sh data=table data.path=scores.parquet
set -euo pipefail
cd "$(dirname "$0")"
python run.py results.csv "$@"    # up to 1024 labels, or as many as there are
python plot.py results.csv figure.png
