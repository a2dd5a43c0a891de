#!/usr/bin/env sh
# Train, test and explain a classifier on synthetic radiographs, in a few minutes on a CPU. Called by `make demo`.
set -eu

run="runs/demo-$(date +%Y%m%d-%H%M%S)"

xraycls train --base-model resnet18 --weights none --size 128 --epochs 8 --learning-rate 1e-3 --output "$run"
xraycls test "$run"

# A few test images with pneumonia, explained.
set -- $(python -c '
import xraycls
table = xraycls.phantom_table().split("test")
print(*[sample.path for sample in table if sample.label == 1][:3])')
xraycls cam "$run" "$@" --output "$run/cam"

echo
echo "Look at:"
echo "  $run/report.html   figures with intervals, curves, the most wrong images"
echo "  $run/cam/          where the model looked"
