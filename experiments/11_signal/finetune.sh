#!/usr/bin/env bash
# Is an encoder worth more that learns from the rewards? bash finetune.sh [key=value]... TABLE[,key=value...]...: MiniLM fine-tuned and frozen under the same
# heads, one that regresses rewards (mlp) and one that learns the decision (regret), and the category mean:
#   bash finetune.sh llmrouter9.parquet,cost.prices=../10_board/prices.yaml,cost.assume_completion_tokens=150
# SPLITS=0,1,2 says which splits; initialisation and the order of batches differ with them. Give the same command again and it goes on.
set -euo pipefail
cd "$(dirname "$0")"
IFS=, read -ra splits <<< "${SPLITS:-0,1,2}"
all=() tables=()
for given in "$@"; do
  if [[ ${given%%,*} == *=* ]]; then all+=("$given"); else tables+=("$given"); fi
done

for split in "${splits[@]}"; do
  for table in "${tables[@]}"; do
    IFS=, read -ra own <<< "$table"
    name=$(basename "${own[0]}") && name=${name%%.*}
    train() {  # NAME OVERRIDES...
      erp train -m "sweep=finetune_${name}_$1_$split" "split.seed=$split" "seed=$split" data=table "data.path=${own[0]}" backbone=minilm \
        +backbone.max_tokens=128 trainer=finetune bootstrap.draws=1000 out=../runs tracking=off figures=false "${@:2}" "${own[@]:1}" "${all[@]}" ||
        echo "finetune_${name}_$1_$split: not all of its jobs are done"
    }
    train given router=category_mean
    train predicted router=category_mean category=predicted
    train frozen router=mlp,regret trainer.max_epochs=100 trainer.patience=5
    train tuned router=mlp,regret backbone.name=minilm_finetuned backbone.finetune=true backbone.encoder_learning_rate=5e-5 trainer.max_epochs=4 trainer.patience=1
  done
done
PYTHONPATH=../10_board${PYTHONPATH:+:$PYTHONPATH} python beside_plain.py ../runs/sweeps/finetune_*.json finetune.csv
python page.py finetune.csv README.md
