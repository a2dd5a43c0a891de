#!/usr/bin/env sh
# Train, test and explain a classifier on synthetic radiographs, in a few minutes on a CPU. Called by `make demo`.
set -eu

run="runs/demo-$(date +%Y%m%d-%H%M%S)"

xraycls train --base-model resnet18 --weights none --size 128 --batch-size 16 --epochs 12 --patience 6 \
	--learning-rate 5e-4 --ema 0.95 --output "$run"
xraycls test "$run"

# The test images with pneumonia, explained.
images=$(python -c 'import xraycls; print(xraycls.phantom_table().root)')
xraycls cam "$run" "$images/test/PNEUMONIA" --output "$run/cam"

echo
echo "Look at:"
echo "  $run/report.html   figures with intervals, curves, the most wrong images"
echo "  $run/cam/          where the model looked"
