#!/usr/bin/env bash
# The GPU test suite and all GPU benchmarks on one machine, in under 8 minutes, and 10 more where TensorRT is; one table last.
#
#   benchmarks/gpu.sh [DATA]
#
# Runs from the checkout, nothing is installed. DATA is a folder or CSV of image files; phantoms when omitted.
# PYTHON says which interpreter (default: python3) and OUT where the results go (default: benchmarks/results/gpu).
# Beside torch, torchvision, timm and DALI it needs opencv-python-headless, numpy, pillow, pydantic, pyyaml, rich,
# safetensors, scikit-learn, tensorboard, typer, matplotlib, pytest and hypothesis. DALI rows and DICOM rows are left
# out with the reason where DALI or pydicom is missing. Engines of TensorRT need trtexec on the path, onnx, onnxscript
# and onnxruntime; those that xraycls itself builds and computes need the package tensorrt instead of trtexec.
set -uo pipefail
data=${1:+$(realpath "$1")}
checkout=$(realpath "$(dirname "$0")/..")
out=$(realpath -m "${OUT:-$checkout/benchmarks/results/gpu}")
python=${PYTHON:-python3}
cd "$checkout" || exit 1
export PYTHONPATH=.${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
rm -f "$out"/*.json "$out"/*.txt "$out"/steps.tsv
"$python" -c 'import benchmarks.common' || { echo "xraycls can't be imported with $python: see the last line above."; exit 1; }

has_gpu=$("$python" -c 'import torch; print(int(torch.cuda.is_available()))')
if [ "$has_gpu" = 0 ]; then
    echo "torch finds no CUDA GPU on this machine: GPU tests are skipped and GPU benchmarks are not run."
fi
if [ -z "$data" ] && [ "$has_gpu" = 1 ]; then
    data=$work/phantom
    "$python" -c 'import sys; from benchmarks.sources import draw_phantoms; draw_phantoms(sys.argv[1])' "$data"
fi

# step NAME SECONDS COMMAND…: notes how it ended, and goes on.
step() {
    local name=$1 limit=$2 started=$SECONDS
    shift 2
    echo "== $name"
    timeout --kill-after=5 "$limit" "$@"
    printf '%s\t%s\t%s\n' "$name" $? $((SECONDS - started)) >>"$out/steps.tsv"
}

# The same for what is worth nothing without a GPU.
gpu_step() {
    if [ "$has_gpu" = 1 ]; then step "$@"; else printf '%s\t-\t0\n' "$1" >>"$out/steps.tsv"; fi
}

gpu_tests() {
    "$python" -m pytest -m gpu -rs -p no:cacheprovider tests/loaders tests/training tests/workflows \
        tests/export/test_tensorrt_runtime.py 2>&1 | tee "$out/pytest.txt"
}
gpu_parity() {
    "$python" -m xraycls bench parity --data "$data" --output "$out" --json >"$out/parity.json"
}
gpu_inference() {
    "$python" -c 'import pathlib, sys; from benchmarks.tensorrt_engines import save_models
save_models(pathlib.Path(sys.argv[1]), 224)' "$work" &&
        "$python" -m xraycls export "$work/classifier.safetensors" -o "$work/exported" --engine &&
        "$python" -m xraycls bench inference "$work/classifier.safetensors" "$work/exported" -o "$out"
}
export -f gpu_tests gpu_parity gpu_inference
export python out data work

step "pytest -m gpu" 120 bash -o pipefail -c gpu_tests
gpu_step "xraycls bench parity" 30 bash -c gpu_parity
gpu_step "benchmarks.loader" 110 "$python" -m benchmarks.loader --data "$data" --threads "$(nproc)" --rounds 3 \
    --batch-size 60 --images 480 --compared 20 --json "$out/loader.json"
gpu_step "benchmarks.train" 130 "$python" -m benchmarks.train --data "$data" --rounds 1 --json "$out/train.json"
gpu_step "benchmarks.train --compile" 50 "$python" -m benchmarks.train --data "$data" --rounds 1 --nets resnet18 \
    --sources prepared --compile --json "$out/train-compile.json"
gpu_step "benchmarks.memory" 70 "$python" -m benchmarks.memory --data "$data" --device cuda --threads "$(nproc)" \
    --images 240 --json "$out/memory.json"
gpu_step "benchmarks.tensorrt_engines" 420 "$python" -m benchmarks.tensorrt_engines --json "$out/tensorrt.json"
if "$python" -c 'import tensorrt, onnxscript, onnxruntime' 2>/dev/null; then
    gpu_step "xraycls bench inference" 180 bash -c gpu_inference
fi
"$python" -m benchmarks.gpu_table "$out"
