#!/usr/bin/env bash
# Which router? bash run.sh [key=value]... [TABLE[,key=value...]]...: on the table that ships, then on each table named, with overrides of its own:
#   bash run.sh llmrouter9.parquet,cost.prices=prices.yaml,cost.assume_completion_tokens=150 alpaca_eval.parquet
# Give the same command again and it goes on: what is finished is found, and a router that is new gets its rows.
set -euo pipefail
cd "$(dirname "$0")"
slow=${SLOW:-random_forest svr gradient_boosting stack matrix_factorisation p2l routerdc quantile}
minutes=${MINUTES:-10}  # that each of these gets on a table, for its five splits; the splits that are not done by then are left
all=() tables=()
for given in "$@"; do
  if [[ ${given%%,*} == *=* ]]; then all+=("$given"); else tables+=("$given"); fi
done

sweep() {  # NAME OVERRIDES...: what fails stands in the sweep's record, and is blank on the board, with the reason
  "${limit[@]}" erp train -m experiment=board "sweep=board_$1" out=../runs tracking=off figures=false "${@:2}" "${all[@]}" ||
    echo "board_$1: not all of its jobs are done"
}

settle() {  # TABLE[,key=value...]: its name, and its overrides
  IFS=, read -ra own <<< "$1"
  name=$(basename "${own[0]}") data=(data=table "data.path=${own[0]}" bootstrap.draws=1000 "${own[@]:1}")  # the board draws its own
  name=${name%%.*}
}

limit=()
sweep mini reward_model.name=verifier,yes_logit
sweep mini_predicted router=category_mean category=predicted reward_model.name=verifier,yes_logit
for table in "${tables[@]}"; do
  settle "$table"
  sweep "$name" "router=glob(*, exclude=[${slow// /,}])" "${data[@]}"
  sweep "${name}_predicted" router=category_mean category=predicted "${data[@]}"
done
limit=(timeout --signal=INT "${minutes}m")
for router in $slow; do  # router by router, so that a board that is cut off has whole columns
  for table in "${tables[@]}"; do
    settle "$table"
    sweep "${name}_$router" "router=$router" "${data[@]}"
  done
done
if ((${#tables[@]})); then
  python results.py ../runs/sweeps/board_*.json board.csv ranks.csv
  python speeds.py ../runs/sweeps/board_*.json speeds.csv
else  # the board of all tables is left as it stands
  python results.py ../runs/sweeps/board_mini*.json results.csv
fi
python plot.py ranks.csv speeds.csv figure.png ../../docs/images/board.png
python page.py README.md ../../docs/which-router.md
