#!/usr/bin/env bash
# The commands that made the table that ships with erp: about two hours on two cores. ERP_WEIGHTS holds the GGUF files.
set -euo pipefail
cd "$(dirname "$0")"
erp collect --config-dir conf prompts=pilot k=4 block=25           # which of 25 tasks have something to route?
python choose_tasks.py tables/pilot pilot.csv                      # those went into prompts=reasoning_gym
erp collect name=mini k=8 block=33 reward_model=verifier           # prompts=reasoning_gym pool=mini are the defaults
erp collect name=mini k=8 block=33 reward_model=yes_logit
python pack.py tables/mini ../../erp/mini
