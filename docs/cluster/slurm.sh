#!/usr/bin/env bash
# Works on a prepared study by an array of jobs:  sbatch docs/cluster/slurm.sh STUDY [OPTION of `worker`]...
# The environment names the stores and the folders (SWEEPS_STORAGE, MLFLOW_TRACKING_URI, SWEEPS_HOME, MNIST_DIR); sbatch
# passes it on. PYTHON is the interpreter, by default the one of the checkout that sbatch was called in.
#SBATCH --job-name=sweeps
#SBATCH --array=0-15
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=600M
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=sweeps-%A-%a.log
# B: means this shell, which passes the signal on; 120 s are enough for the last step of any epoch.
#SBATCH --signal=B:TERM@120
set -euo pipefail

study=${1:?the name of a study must be given: sbatch slurm.sh STUDY}
shift
: "${SWEEPS_STORAGE:?must hold the address of the database of trials}"
: "${MLFLOW_TRACKING_URI:?must hold the address of the MLflow server}"
python=${PYTHON:-.venv/bin/python}

"$python" -m sweeps worker "$study" --workers "${SLURM_CPUS_PER_TASK:-1}" --quiet "$@" &
worker=$!
trap 'kill -TERM "$worker" 2>/dev/null || true' TERM
code=0
wait "$worker" || code=$?
# A signal ends the wait and not the worker, which is still putting its trials back.
while kill -0 "$worker" 2>/dev/null; do
    code=0
    wait "$worker" || code=$?
done

# 130 is that of a worker that was told to stop. Slurm itself queues a job again after a preemption or a node's failure,
# and not at the end of its time.
if [ "$code" -eq 130 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
