#!/usr/bin/env bash
# Three minutes a table on two cores, after the embeddings (two minutes, cached): bash run.sh <llmrouter9> <alpaca_eval>
# The tables are long files with prompt, category, model, reward, made from public data: README.md says which.
set -euo pipefail
cd "$(dirname "$0")"
python run.py "$1" results.csv                # 9 members, 20 draws of up to 1024 labels
python run.py "$2" alpaca_eval.csv 256 5      # 55 members, 5 draws of up to 256
python plot.py results.csv curve.png
