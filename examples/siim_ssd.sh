#!/usr/bin/env sh
# SIIM-COVID to a pruned detector, from TAO specs: convert, train, evaluate, prune, retrain, evaluate, look.
# On synthetic DICOM files in SIIM's layout, at a size for two CPU cores. The specs are those of examples/siim_ssd; only
# paths, epochs, size and processes are set here. For the real data, leave them at the specs' values and give your own folders.
# The weights of every epoch stay, as with TAO: 7 GB in the end.
set -eu

specs=$(cd "$(dirname "$0")" && pwd)/siim_ssd
work=${1:-runs/siim-ssd-$(date +%Y%m%d-%H%M%S)}
films=${FILMS:-800} others=${OTHERS:-1500} size=${SIZE:-96} first=${FIRST:-10} epochs=${EPOCHS:-100} again=${AGAIN:-24}
mkdir -p "$work"
work=$(cd "$work" && pwd)
mount="--mount=/workspace/tlt-experiments=$work"

step() { printf '\n== %s (%s s so far)\n' "$1" "$(($(date +%s) - started))"; }
started=$(date +%s)

step "Synthetic radiographs: SIIM's DICOM files and tables, and others for a first classifier"
xraycls --quiet data phantom --layout siim --number "$films" --size 256 --seed 42 "$work/siim"
xraycls --quiet data phantom --number "$others" --size 200 --seed 7 "$work/others"

step "SIIM to PNG and KITTI, KITTI to TFRecords"
xraycls data siim2kitti --label "$work/siim/train_image_level.csv" --train "$work/siim/train" --pixel 256 \
	--kf "$work/data/SIIM-FISABIO-RSNA"
xraycls dataset_convert -d "$specs/convert.txt" -o "$work/data/tfrecords/kitti_trainval/kitti_trainval" "$mount"

step "A classifier of other films, whose backbone the detector starts from"
# Adam's decay weakens kernels that learn little, so that SSD's L1 regulariser has less to take away before pruning.
xraycls train --data "$work/others" --base-model resnet18 --weights none --size "$size" --epochs 10 \
	--optimizer adam --learning-rate 1e-3 --weight-decay 1e-2 --output "$work/classifier"

# Train by a spec from a model: learn SPEC START EPOCHS RESULTS; leaves the last model in $model.
learn() {
	spec=$specs/$1 start=$2 lasting=$3 results=$work/$4
	shift 4
	xraycls ssd train -e "$spec" -m "$start" -r "$results" "$mount" --epochs "$lasting" --size "$size" "$@"
	model=$(ls "$results"/weights/*.safetensors | tail -n 1)
}

# What the last model finds: figures SPEC RESULTS.
figures() { xraycls ssd evaluate -e "$specs/$1" -m "$model" -r "$work/$2" "$mount"; }

step "SSD: a first training by four processes, as the specs were made for"
# Their learning rate is four times as high. Its large steps leave a few strong filters in the last layers and many weak
# ones, which L1 then holds down and pruning tells apart: it compares with the strongest of a layer.
learn train.txt "$work/classifier/checkpoints/best.safetensors" "$first" begun --gpus 4 --device cpu

step "SSD: train and evaluate"
learn train.txt "$model" "$epochs" trained
figures train.txt evaluated

step "Prune"
xraycls ssd prune -m "$model" -o "$work/pruned/model.safetensors" -eq intersection -pth 0.1

step "Retrain and evaluate"
learn retrain.txt "$work/pruned/model.safetensors" "$again" retrained
figures retrain.txt reevaluated

step "Inference"
xraycls ssd inference -e "$specs/retrain.txt" -m "$model" -i "$work/data/SIIM-FISABIO-RSNA/formatted/images" \
	-r "$work/found"

step "Done"
echo "Look at:"
echo "  $work/found/images_annotated/                what the pruned detector finds"
echo "  $work/trained/ssd_training_log_resnet18.csv  loss and AP, epoch by epoch"
python "$specs/summary.py" "$work"
