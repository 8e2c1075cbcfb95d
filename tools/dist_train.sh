#!/usr/bin/env bash
# Train on several GPUs:  tools/dist_train.sh CONFIG GPUS [options of train.py]
# On several machines, call it on each:
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 tools/dist_train.sh CONFIG GPUS_PER_MACHINE
if [[ $# -lt 2 ]]; then sed -n '2,4s/^# //p' "$0" >&2; exit 2; fi
exec "$(dirname "$0")/torchrun.sh" train.py "$2" "$1" "${@:3}"
