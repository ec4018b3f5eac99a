#!/usr/bin/env bash
# What do predicted costs buy? bash predicted_costs.sh [TABLE[,key=value...]]...: on the table that ships, then on each table named, with
# overrides of its own; the README has the command of its table. Give the same command again and it goes on: what is finished is found.
set -euo pipefail
cd "$(dirname "$0")"

sweep() {  # NAME OVERRIDES...
  erp train -m "sweep=costs_$1" router=ridge,knn cost.predict=true cost.head=null,linear,log split.seed=0,1,2,3,4 out=../runs tracking=off \
    figures=false "${@:2}"
}

sweep mini reward_model.name=verifier,yes_logit
for table in "$@"; do
  IFS=, read -ra own <<< "$table"
  name=$(basename "${own[0]}")
  sweep "${name%%.*}" data=table "data.path=${own[0]}" bootstrap.draws=1000 "${own[@]:1}"
done
python predicted_costs.py ../runs/sweeps/costs_*.json predicted_costs.csv
