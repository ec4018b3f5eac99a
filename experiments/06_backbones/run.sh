#!/usr/bin/env bash
# Size and source of the embedding: bash run.sh [overrides of the sweep], e.g.
#   bash run.sh data=table data.path=scores.parquet reward_model.name=a backbone=surface,minilm,bge_small
set -euo pipefail
cd "$(dirname "$0")"
python keep.py  # embeddings of the table that ships, so that no weights are needed for it
erp train -m experiment=backbones out=../runs tracking=off figures=false "$@"
python results.py ../runs/sweeps/backbones.json > results.csv
python plot.py results.csv figure.png
