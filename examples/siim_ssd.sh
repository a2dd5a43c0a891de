#!/usr/bin/env sh
# SIIM-COVID to a pruned detector, from TAO specs: convert, train, evaluate, prune, retrain, evaluate, look.
# On synthetic DICOM files in SIIM's layout, at a size for two CPU cores. The specs are those of examples/siim_ssd; only
# paths, epochs and size are set here. For the real data, leave them at the specs' values and give your own folders.
set -eu

specs=$(cd "$(dirname "$0")" && pwd)/siim_ssd
work=${1:-runs/siim-ssd-$(date +%Y%m%d-%H%M%S)}
films=${FILMS:-800} size=${SIZE:-128} first_epochs=${FIRST_EPOCHS:-20} epochs=${EPOCHS:-45} again=${AGAIN:-24}
mkdir -p "$work"
work=$(cd "$work" && pwd)

step() { printf '\n== %s (%s s so far)\n' "$1" "$(($(date +%s) - started))"; }
started=$(date +%s)

# Films of some seed, as SIIM's DICOM files and tables, as PNG with KITTI labels and as TFRecords.
draw() {
	xraycls --quiet data phantom --layout siim --images "$films" --size 256 --seed "$1" "$2/siim"
	xraycls data siim2kitti --label "$2/siim/train_image_level.csv" --train "$2/siim/train" --pixel 256 \
		--kf "$2/data/SIIM-FISABIO-RSNA"
	xraycls dataset_convert -d "$specs/convert.txt" -o "$2/data/tfrecords/kitti_trainval/kitti_trainval" \
		--mount "/workspace/tlt-experiments=$2"
}

step "Synthetic radiographs, and others to learn the first steps from"
draw 42 "$work"
draw 7 "$work/others"
mount="--mount=/workspace/tlt-experiments=$work"

step "What others start with: a classifier, and from it a detector, of the other films"
# Strong decay leaves small kernels, of which SSD's L1 regulariser can bring those that nothing needs to zero.
xraycls train --data "$work/others/data/SIIM-FISABIO-RSNA/formatted" --base-model resnet18 --weights none \
	--size "$size" --epochs 14 --patience 14 --learning-rate 5e-4 --weight-decay 30 --output "$work/classifier"
xraycls ssd train -e "$specs/train.txt" -r "$work/first" -m "$work/classifier/checkpoints/best.safetensors" \
	--mount "/workspace/tlt-experiments=$work/others" --epochs "$first_epochs" --size "$size"
first=$(ls "$work"/first/weights/*.safetensors | tail -n 1)

step "SSD: train and evaluate"
xraycls ssd train -e "$specs/train.txt" -r "$work/trained" -m "$first" "$mount" \
	--epochs "$epochs" --size "$size"
trained=$(ls "$work"/trained/weights/*.safetensors | tail -n 1)
xraycls ssd evaluate -e "$specs/train.txt" -m "$trained" -r "$work/evaluated" "$mount"

step "Prune"
xraycls ssd prune -m "$trained" -o "$work/pruned/model.safetensors" -eq intersection -pth 0.1

step "Retrain and evaluate"
xraycls ssd train -e "$specs/retrain.txt" -r "$work/retrained" -m "$work/pruned/model.safetensors" "$mount" \
	--epochs "$again" --size "$size"
retrained=$(ls "$work"/retrained/weights/*.safetensors | tail -n 1)
xraycls ssd evaluate -e "$specs/retrain.txt" -m "$retrained" -r "$work/reevaluated" "$mount"

step "Inference"
xraycls ssd inference -e "$specs/retrain.txt" -m "$retrained" -i "$work/data/SIIM-FISABIO-RSNA/formatted/images" \
	-r "$work/found"

step "Done"
python "$specs/summary.py" "$work"
echo
echo "Look at:"
echo "  $work/found/images_annotated/           what the pruned detector finds"
echo "  $work/trained/ssd_training_log_resnet18.csv  loss and AP, epoch by epoch"
