#!/usr/bin/env bash
# Install the project with all three backends into .venv, and run the linter, the type checker and the tests on each.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 -m venv .venv
.venv/bin/pip install --quiet -c constraints.txt -e ".[tensorflow-cpu,jax,torch,evaluation,data,hub,export,tensorboard,video,test,dev]"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
for backend in tensorflow jax torch; do
  echo "== $backend"
  # What no backend has a part in is tested on the fastest of them.
  if [ "$backend" = torch ]; then selected=""; else selected="not one_backend"; fi
  # A process a core: more threads than cores make small tests many times slower.
  KERAS_BACKEND=$backend TF_CPP_MIN_LOG_LEVEL=3 OMP_NUM_THREADS=1 \
    .venv/bin/python -m pytest -q -n "${TEST_PROCESSES:-2}" --dist worksteal -m "$selected" tests/
done
