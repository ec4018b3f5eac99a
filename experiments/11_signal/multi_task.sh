#!/usr/bin/env bash
# Do rewards of a second reward model teach the first? bash multi_task.sh [key=value]...: on the table that ships, each of its two reward models alone and with
# the other one beside it on the same hidden layers (router.beside), on MiniLM as released; three splits, with which initialisation and batches differ too.
set -euo pipefail
cd "$(dirname "$0")"
train() {  # NAME OVERRIDES...
  for split in 0 1 2; do
    erp train -m "sweep=multitask_$1_$split" "split.seed=$split" "seed=$split" backbone=minilm out=../runs tracking=off figures=false "${@:2}"
  done
}

python ../06_backbones/keep.py
train given router=category_mean reward_model.name=verifier,yes_logit "$@"
train alone router=mlp reward_model.name=verifier,yes_logit "$@"
train verifier router=mlp router.name=mlp_beside reward_model.name=verifier 'router.beside=[yes_logit]' "$@"
train yes_logit router=mlp router.name=mlp_beside reward_model.name=yes_logit 'router.beside=[verifier]' "$@"
PYTHONPATH=../10_board${PYTHONPATH:+:$PYTHONPATH} python beside_plain.py ../runs/sweeps/multitask_*.json multi_task.csv
python page.py multi_task.csv README.md
