#!/usr/bin/env bash
# What tells more than a prompt's category? bash run.sh [key=value]... [TABLE[,key=value...]]...: on the table that ships, then on each table
# named, with overrides of its own. PROBES=smollm2_probe,... adds backbones whose weights have to be there (ERP_WEIGHTS, or a hub):
#   PROBES=smollm2_probe bash run.sh humaneval3x10.parquet,cost.prices=../10_board/prices.yaml,cost.assume_completion_tokens=150
# PROBE_WITH=backbone.dtype=bfloat16 are overrides of theirs; BACKBONES=surface,minilm is a list in place of experiment=signal's.
# STATIC=FOLDER adds the static model that static.py made there.
# Give the same command again and it goes on: what is finished is found.
set -euo pipefail
cd "$(dirname "$0")"
all=() tables=()
for given in "$@"; do
  if [[ ${given%%,*} == *=* ]]; then all+=("$given"); else tables+=("$given"); fi
done

sweep() {  # NAME OVERRIDES...: the backbones by three routers, those of several blocks by a penalty each, and what they have to beat
  erp train -m experiment=signal "sweep=signal_$1" ${BACKBONES:+"backbone=$BACKBONES"} out=../runs tracking=off figures=false "${@:2}" "${all[@]}"
  erp train -m experiment=signal "sweep=signal_$1_blocks" router=block_ridge backbone=minilm_surface out=../runs tracking=off figures=false "${@:2}" "${all[@]}"
  if [[ -n ${PROBES:-} ]]; then
    erp train -m experiment=signal "sweep=signal_$1_probes" router=ridge,soft_category_mean,irt,block_ridge "backbone=$PROBES" ${PROBE_WITH:-} out=../runs \
      tracking=off figures=false "${@:2}" "${all[@]}"
  fi
  if [[ -n ${STATIC:-} ]]; then
    erp train -m experiment=signal "sweep=signal_$1_static" backbone=static backbone.name=static_minilm "backbone.model=$STATIC" backbone.sha256=null \
      backbone.tokenizer_sha256=null backbone.revision=null out=../runs tracking=off figures=false "${@:2}" "${all[@]}"
  fi
  for category in given predicted; do
    erp train -m experiment=signal "sweep=signal_$1_$category" backbone=minilm router=category_mean "category=$category" out=../runs tracking=off \
      figures=false "${@:2}" "${all[@]}"
  done
}

python ../06_backbones/keep.py  # embeddings of the table that ships, so that no weights are needed for it
sweep mini reward_model.name=verifier,yes_logit
# What a cheap member answers first, once and twice: from the table's own responses, which the other tables do not have.
erp train -m experiment=signal sweep=signal_mini_attempt backbone=attempt "backbone.member=smollm2-135m-shots,qwen-0.5b-direct" backbone.samples=1,2 \
  'backbone.name=attempt_${backbone.samples}_${backbone.member}' router=ridge,block_ridge,soft_category_mean reward_model.name=verifier,yes_logit \
  out=../runs tracking=off figures=false "${all[@]}"
for table in "${tables[@]}"; do
  IFS=, read -ra own <<< "$table"
  name=$(basename "${own[0]}")
  sweep "${name%%.*}" data=table "data.path=${own[0]}" bootstrap.draws=1000 "${own[@]:1}"
done
export PYTHONPATH=../10_board
if ((${#tables[@]})) || [[ -n ${PROBES:-} ]]; then
  python beside_category.py ../runs/sweeps/signal_*.json all.csv
else  # what stands of other tables and of probes is left
  python beside_category.py ../runs/sweeps/signal_mini{,_blocks,_attempt,_given,_predicted}.json results.csv
fi
python plot.py all.csv figure.png ../../docs/images/signal.png
python page.py all.csv README.md ../../docs/which-router.md
