#!/usr/bin/env bash
# Train on several GPUs:  tools/dist_train.sh CONFIG GPUS [options of train.py]
# On several machines, call it on each:
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 tools/dist_train.sh CONFIG GPUS_PER_MACHINE
if [[ $# -lt 2 ]]; then sed -n '2,4s/^# //p' "$0" >&2; exit 2; fi
source "$(dirname "$0")/_python.sh"
exec "$python" "$tools/launch.py" "$2" "$tools/train.py" "$1" "${@:3}" --launcher pytorch
