#!/usr/bin/env bash
# Train as a Slurm job:  tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]
# Environment variables and their defaults: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS.
# Two minutes before its time limit the job writes a checkpoint and ends with exit code 75. Then this
# script asks for the next job, which resumes.
set -euo pipefail
if [[ $# -lt 4 ]]; then sed -n '2,5s/^# //p' "$0" >&2; exit 2; fi
partition=$1 job_name=$2 config=$3 work_dir=$4
source "$(dirname "$0")/_python.sh"
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
read -ra srun_args <<< "${SRUN_ARGS:-}"
resume=()
while true; do
    code=0
    srun --partition="$partition" --job-name="$job_name" --ntasks="$gpus" \
        --ntasks-per-node="$((per_node < gpus ? per_node : gpus))" \
        --gres=gpu:"$((per_node < gpus ? per_node : gpus))" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 --signal=USR1@120 \
        "${srun_args[@]}" "$python" -u "$tools/train.py" "$config" --work-dir "$work_dir" \
        --launcher slurm "${@:5}" "${resume[@]}" || code=$?
    [[ $code == 75 ]] || exit "$code"
    resume=(--resume)
done
