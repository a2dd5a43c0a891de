#!/usr/bin/env sh
# YOLOv4 of a TAO spec, pruned and used to label: Darknet labels to KITTI, anchors, train, evaluate, prune, evaluate,
# retrain, evaluate, pseudo-labels, and a short training on them. On phantoms with a lead plate and its four corners.
# The specs are those of examples/yolo_v4, which are for 320 pixels and tens of thousands of steps. Here are 64 pixels and a
# thousand steps, so some of their values are changed for it, and told: see "Specs" below. Some 15 minutes on two cores.
# Toy sizes (FILMS=16 OTHERS=64 SURE=0.001 and one epoch each) show every step, and nothing more.
set -eu

here=$(cd "$(dirname "$0")" && pwd)/yolo_v4
work=${1:-runs/yolo-v4-$(date +%Y%m%d-%H%M%S)}
films=${FILMS:-200} others=${OTHERS:-200} size=${SIZE:-64} first=${FIRST:-3} epochs=${EPOCHS:-40} more=${MORE:-8}
again=${AGAIN:-8} pseudo=${PSEUDO:-3} sure=${SURE:-0.5}
mkdir -p "$work"
work=$(cd "$work" && pwd)
mount="--mount=/yolov4=$work"

step() { printf '\n== %s (%s s so far)\n' "$1" "$(($(date +%s) - started))"; }
started=$(date +%s)

step "Phantoms with lead plates, and others for a first classifier"
python "$here/draw.py" "$work/darknet" --films "$films" --size "$((size * 3 / 2))"
xraycls --quiet data phantom --number "$others" --size 200 --seed 7 "$work/others"

step "Darknet labels to KITTI"
for part in train valid; do
	xraycls data convert "$work/darknet/$part" "$work/dataset/$part" --to kitti
done

step "Specs"
# A thousand steps at the users' rate and with their L1 hardly move a weight. And at 64 pixels a rivet in a mosaic, or in an
# input of 32 pixels, can't be told from another.
few='s/randomize_input_shape_period: 100/randomize_input_shape_period: 0/; s/mosaic_prob: 0.5/mosaic_prob: 0.0/'
sed -e "$few" -e 's/max_learning_rate: 1e-4/max_learning_rate: 2e-3/; s/weight: 3e-5/weight: 1e-3/' "$here/train.txt" >"$work/train.txt"
sed -e 's/max_learning_rate: 2e-3/max_learning_rate: 1e-3/; s/weight: 1e-3/weight: 6e-3/' "$work/train.txt" >"$work/sparse.txt"
sed -e "$few" -e 's/max_learning_rate: 1e-4/max_learning_rate: 1e-3/' "$here/retrain.txt" >"$work/retrain.txt"
for spec in train sparse retrain; do
	echo "$spec.txt, changed for a short training:"
	{ grep -E 'max_learning_rate|shape_period|mosaic_prob' "$work/$spec.txt" && grep -A 2 'regularizer {' "$work/$spec.txt" | sed 1d; } |
		tr -s ' ' | paste -s -d ';' -
done

step "Anchors"
for spec in train sparse retrain; do
	xraycls yolo_v4 kmeans -l "$work/dataset/train/labels" -i "$work/dataset/train/images" -x 320 -y 320 -n 9 \
		--write "$work/$spec.txt"
done

step "A classifier of other films, whose backbone the detector starts from"
xraycls train --data "$work/others" --base-model resnet18 --weights none --size "$size" --epochs "$first" \
	--optimizer adam --learning-rate 1e-3 --output "$work/classifier"

# Train by a spec from a model: learn SPEC START EPOCHS RESULTS; leaves the last model in $model.
learn() {
	xraycls yolo_v4 train -e "$work/$1.txt" -m "$2" -r "$work/$4" "$mount" --epochs "$3" --size "$size"
	model=$(ls "$work/$4"/weights/*.safetensors | tail -n 1)
}

# What the last model finds: figures SPEC RESULTS.
figures() { xraycls yolo_v4 evaluate -e "$work/$1.txt" -m "$model" -r "$work/$2" "$mount"; }

step "YOLOv4: train, press its kernels together with more L1, and evaluate"
learn train "$work/classifier/checkpoints/best.safetensors" "$epochs" begun
learn sparse "$model" "$more" trained
figures train evaluated

step "Prune, and evaluate what is left without retraining"
xraycls yolo_v4 prune -m "$model" -e "$work/train.txt" -o "$work/pruned/yolov4_resnet18.safetensors" -eq union -pth 0.7
model=$work/pruned/yolov4_resnet18.safetensors
figures retrain pruned_alone

step "Retrain without a regulariser, and evaluate"
learn retrain "$model" "$again" retrained
figures retrain reevaluated

step "Inference: what the detector is sure of becomes labels"
xraycls yolo_v4 inference -e "$work/retrain.txt" -m "$model" -i "$work/dataset/train/images" -o "$work/annotated" \
	-l "$work/pseudo/labels" --min-score "$sure" "$mount"

step "A short training on these labels"
# Inference writes the names of the classes; the spec maps the numbers of the Darknet labels, which go back in.
for labels in "$work"/pseudo/labels/*.txt; do
	sed -e 's/^top_left /0 /' -e 's/^top_right /1 /' -e 's/^bottom_right /2 /' -e 's/^bottom_left /3 /' "$labels" >"$work/line"
	mv "$work/line" "$labels"
done
# The spec stays as it is: a mount puts these labels in the place of the drawn ones.
xraycls yolo_v4 train -e "$work/retrain.txt" -m "$model" -r "$work/taught" "$mount" \
	--mount "/yolov4/dataset/train/labels=$work/pseudo/labels" --epochs "$pseudo" --size "$size"
model=$(ls "$work/taught"/weights/*.safetensors | tail -n 1)
figures retrain taught_evaluated

step "Done"
echo "Look at:"
echo "  $work/annotated/                               what the pruned detector finds"
echo "  $work/trained/yolov4_training_log_resnet18.csv loss and AP, epoch by epoch"
python "$here/summary.py" "$work"
