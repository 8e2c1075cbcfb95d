#!/usr/bin/env bash
# Evaluate a checkpoint on several GPUs:  tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of test.py]
# On several machines: see dist_train.sh.
if [[ $# -lt 3 ]]; then sed -n '2,3s/^# //p' "$0" >&2; exit 2; fi
source "$(dirname "$0")/_python.sh"
exec "$python" "$tools/launch.py" "$3" "$tools/test.py" "$1" "$2" "${@:4}" --launcher pytorch
