#!/usr/bin/env bash
# Every router on one table, five splits. Usage: run.sh <table.parquet> [more overrides for the sweep]
# The table: the example data of LLMRouter (github.com/ulab-uiuc/LLMRouter, MIT) as one long file with prompt, category, model, reward.
set -euo pipefail
cd "$(dirname "$0")"
table=$1; shift
here=data=table\ data.path=$table
routers=$(python -c "from erp.compose import options; print(','.join(sorted(options('router'))))")
erp train -m $here "router=$routers" split.seed=0,1,2,3,4 tracking=off "$@"
erp train -m $here router=category_mean category=predicted split.seed=0,1,2,3,4 tracking=off "$@"
erp compare table=contenders output=csv > results.csv      # every router, its gain over best single pooled over the splits
erp compare table=pairs output=csv > pairs.csv             # against the best of them and against best single, Holm-corrected
cp "$(ls -td runs/comparisons/*/ | head -1)differences.png" differences.png
# The question of README: auto beside the strongest of the others
chosen=$(ls -d runs/auto-* runs/knn-* runs/ridge-* runs/soft_category_mean-* runs/category_mean-*)
erp compare $chosen table=pairs output=csv > auto.csv
