#!/usr/bin/env sh
# Faster R-CNN of a TLT 3 spec: KITTI to TFRecords, train, evaluate, prune, evaluate, retrain, evaluate, look.
# On phantoms with a lead plate. The specs are those of examples/faster_rcnn; only paths, epochs and size are set here, and
# START takes better weights of a ResNet-18. Some 15 minutes on two cores. Toy sizes (FILMS=12 OTHERS=64 and one epoch each)
# show that every step runs, and nothing more.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
specs=$here/faster_rcnn
work=${1:-runs/faster-rcnn-$(date +%Y%m%d-%H%M%S)}
films=${FILMS:-100} others=${OTHERS:-200} size=${SIZE:-160} first=${FIRST:-3} epochs=${EPOCHS:-12} again=${AGAIN:-6}
mkdir -p "$work"
work=$(cd "$work" && pwd)
mount="--mount=/workspace/tlt-experiments=$work"

step() { printf '\n== %s (%s s so far)\n' "$1" "$(($(date +%s) - started))"; }
started=$(date +%s)

step "Phantoms with lead plates as KITTI, and others for a first classifier"
python "$here/yolo_v4/draw.py" "$work/darknet" --films "$films" --valid 0 --size "$size"
xraycls data convert "$work/darknet/train" "$work/data/training" --to kitti
xraycls --quiet data phantom --images "$others" --size 200 --seed 7 "$work/others"

step "KITTI to TFRecords"
xraycls dataset_convert -d "$specs/convert.txt" -o "$work/data/tfrecords/kitti_trainval/kitti_trainval" "$mount"

if [ -z "${START:-}" ]; then
	step "A classifier of other films, whose backbone the detector starts from"
	xraycls train --data "$work/others" --base-model resnet18 --weights none --size 96 --epochs "$first" \
		--optimizer adam --learning-rate 1e-3 --output "$work/classifier"
fi

# Train by a spec from a model: learn SPEC START EPOCHS RESULTS; leaves the last model in $model.
learn() {
	xraycls faster_rcnn train -e "$specs/$1.txt" -m "$2" -r "$work/$4" "$mount" --epochs "$3" --size "$size"
	model=$work/$4/frcnn_resnet_18.epoch_$3.safetensors
}

# What the last model finds: figures SPEC RESULTS.
figures() { xraycls faster_rcnn evaluate -e "$specs/$1.txt" -m "$model" -r "$work/$2" "$mount"; }

step "Faster R-CNN: train and evaluate"
learn train "${START:-$work/classifier/checkpoints/best.safetensors}" "$epochs" trained
figures train evaluated

step "Prune, and evaluate what is left without retraining"
xraycls faster_rcnn prune -m "$model" -o "$work/pruned/model.safetensors" -eq union -pth 0.2
model=$work/pruned/model.safetensors
figures retrain pruned_alone

step "Retrain and evaluate"
learn retrain "$model" "$again" retrained
figures retrain reevaluated

step "Inference"
xraycls faster_rcnn inference -e "$specs/retrain.txt" -m "$model" -i "$work/data/training/images" \
	-o "$work/found/images_annotated" -l "$work/found/labels" "$mount"

step "Done"
echo "Look at:"
echo "  $work/found/images_annotated/  what the pruned detector finds"
python "$specs/summary.py" "$work"
