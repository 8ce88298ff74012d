#!/bin/bash
# A run under Slurm: sbatch docs/slurm.sh configs/qwen3_30b_a3b_grpo.toml run.dir=/shared/runs/first
#
# Change the numbers below to the recipe's nodes and to your machines. Five minutes before the time is over, Slurm signals this script. The
# driver then finishes its update and saves, and the job queues itself again: run.resume=auto, which this script sets, continues there. With
# run.grace_s=240, which it sets too, an update that takes longer is cut and the step before it saved: keep it below the seconds of --signal.
#
#SBATCH --job-name=gatewise
#SBATCH --nodes=4
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=gatewise-%j.log
set -euo pipefail

config=${1:?give a config: sbatch docs/slurm.sh CONFIG [key=value ...]}
shift
python=${GATEWISE_PYTHON:-$PWD/.venv/bin/python} # of an environment that every node sees
port=${GATEWISE_PORT:-6379}
pid_file=$PWD/.gatewise-$SLURM_JOB_ID.pid

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
address=$(srun --nodes=1 --ntasks=1 --nodelist="$first" hostname --ip-address | tr ' ' '\n' | grep -v '^127\.' | sed -n 1p):$port

# Ray runs code for anyone who can reach it: only this job has the token.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$("$python" -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

# On every node: start Ray, and on the first one run the driver in that cluster. All of Ray ends with the driver.
# shellcheck disable=SC2016  # the inner shell expands them
srun --kill-on-bad-exit=1 "$(dirname "$python")/ray" symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
    -- bash -c 'echo $$ >"$1" && shift && exec "$@"' driver "$pid_file" \
    env RAY_ADDRESS="$address" "$python" -m cluster train "$config" run.resume=auto run.grace_s=240 "$@" &
step=$!

# This script runs on the first node, beside the driver. Ray's own processes must not get the signal: they are needed to save.
stopped=0
trap 'stopped=1; kill -TERM "$(cat "$pid_file")"' TERM
code=0
wait "$step" || code=$?
while kill -0 "$step" 2>/dev/null; do # the signal ended the wait, not the step
    code=0
    wait "$step" || code=$?
done
rm -f "$pid_file"
if [ "$stopped" = 1 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
