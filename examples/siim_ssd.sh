#!/usr/bin/env sh
# SIIM-COVID to a pruned detector, from TAO specs: convert, train, evaluate, prune, retrain, evaluate, look.
# On synthetic DICOM files in SIIM's layout, at a size for two CPU cores. The specs are those of examples/siim_ssd; only
# paths, epochs and size are set here. For the real data, leave them at the specs' values and give your own folders.
set -eu

specs=$(cd "$(dirname "$0")" && pwd)/siim_ssd
work=${1:-runs/siim-ssd-$(date +%Y%m%d-%H%M%S)}
films=${FILMS:-800} size=${SIZE:-128} epochs=${EPOCHS:-40} again=${AGAIN:-20}
mkdir -p "$work"
work=$(cd "$work" && pwd)
mount="--mount=/workspace/tlt-experiments=$work"

step() { printf '\n== %s (%s s so far)\n' "$1" "$(($(date +%s) - started))"; }
started=$(date +%s)

step "Synthetic radiographs: SIIM's DICOM files and tables, and others for a first classifier"
xraycls --quiet data phantom --layout siim --images "$films" --size 256 --seed 42 "$work/siim"
xraycls --quiet data phantom --images 1500 --size 200 --seed 7 "$work/others"

step "SIIM to PNG and KITTI, KITTI to TFRecords"
xraycls data siim2kitti --label "$work/siim/train_image_level.csv" --train "$work/siim/train" --pixel 256 \
	--kf "$work/data/SIIM-FISABIO-RSNA"
xraycls dataset_convert -d "$specs/convert.txt" -o "$work/data/tfrecords/kitti_trainval/kitti_trainval" "$mount"

step "A classifier of other films, whose backbone the detector starts from"
xraycls train --data "$work/others" --base-model resnet18 --weights none --size "$size" --epochs 10 \
	--learning-rate 5e-4 --output "$work/classifier"

step "SSD"
xraycls ssd train -e "$specs/train.txt" -r "$work/trained" -m "$work/classifier/checkpoints/best.safetensors" "$mount" \
	--epochs "$epochs" --size "$size"
