#!/usr/bin/env bash
# What a GPU must do, in at most eight minutes: each track trains on it and computes what the CPU does.
#
#   scripts/gpu_check.sh                       on the first GPU
#   DEVICE=cpu SMALL=1 scripts/gpu_check.sh    tries the check itself, at toy size and without a GPU
#   PYTHON=.venv/bin/python scripts/gpu_check.sh
set -euo pipefail
cd "$(dirname "$0")/.."

device=${DEVICE:-cuda}
python=${PYTHON:-python}
options=(--device "$device")
if [[ ${SMALL:-0} != 0 ]]; then options+=(--small); fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

"$python" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)'
if [[ $device != cpu ]]; then
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
fi

timeout 300 "$python" scripts/gpu_check.py "${options[@]}"

if [[ $device != cpu ]]; then
  timeout 120 "$python" -m pytest -q -m gpu tests/unit/experiments/test_run.py
  gpus=$("$python" -c 'import torch; print(torch.cuda.device_count())')
  if ((gpus > 1)); then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    timeout 60 "$python" -m torch.distributed.run --standalone --nproc-per-node 2 -m metarl train bandit --quiet \
      --device cuda --set train.total_timesteps=128_000 --set eval.trials=200 --out "$folder/run"
  fi
fi
echo "all checks passed"
