#!/usr/bin/env bash
# Evaluate a checkpoint on several GPUs:  tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of test.py]
# On several machines: see dist_train.sh.
if [[ $# -lt 3 ]]; then sed -n '2,3s/^# //p' "$0" >&2; exit 2; fi
exec "$(dirname "$0")/torchrun.sh" test.py "$3" "$1" "$2" "${@:4}"
