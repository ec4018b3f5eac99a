#!/usr/bin/env bash
# Collect the larger table, ten questions of every task at a time: bash collect_larger.sh [prompts] (1200: hours on two
# cores). It may be stopped and called again: what is there is kept. ERP_WEIGHTS holds the GGUF files of pool=mini.
set -euo pipefail
cd "$(dirname "$0")"
for limit in $(seq 240 240 "${1:-1200}"); do
    erp collect --config-dir conf name=larger prompts=larger prompts.limit="$limit" pool=mini k=4 block=48 reward_model=verifier
done
