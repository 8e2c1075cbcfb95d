#!/usr/bin/env bash
# Run a script of this folder in several processes, one for each GPU of this machine:
#   torchrun.sh SCRIPT PROCESSES ARGUMENTS...
# dist_train.sh and dist_test.sh call it. On several machines, call it on each, with NNODES, NODE_RANK
# and MASTER_ADDR in the environment, and PORT if 29500 is taken.
set -euo pipefail
tools=$(cd "$(dirname "$0")" && pwd)
script=$1 processes=$2
shift 2
if ! [[ $processes =~ ^[1-9][0-9]*$ ]]; then
    echo "error: the number of GPUs is '$processes'; it must be a positive integer" >&2
    exit 2
fi
python=${PYTHON:-$tools/../.venv/bin/python}
[[ -x $python ]] || python=python
if [[ ${NNODES:-1} == 1 ]]; then
    where=(--standalone)
else
    where=(--nnodes="$NNODES" --node-rank="${NODE_RANK:?the number of this machine, from 0 on}"
        --master-addr="${MASTER_ADDR:?the address of machine 0}" --master-port="${PORT:-29500}")
fi
exec "$python" -m torch.distributed.run "${where[@]}" --nproc-per-node="$processes" \
    "$tools/$script" "$@" --launcher pytorch
