#!/usr/bin/env bash
# More prompts or more samples of each? bash run.sh [overrides of the sweep], e.g.
#   bash run.sh data=table data.path=scores.parquet labels.prompts=250,500,1000,2000 labels.samples=1,2,4
set -euo pipefail
cd "$(dirname "$0")"
erp train -m experiment=labels out=../runs tracking=off figures=false "$@"
kinds=() # the grid's own keys are not for the second sweep
for override in "$@"; do [[ $override == labels.* ]] || kinds+=("$override"); done
erp train -m target.kind=mean,quantile,best_of_n split.seed=0,1,2,3,4 sweep=labels_kinds out=../runs tracking=off figures=false "${kinds[@]}"
python results.py ../runs/sweeps/labels.json ../runs/sweeps/labels_kinds.json > results.csv
python plot.py results.csv figure.png
