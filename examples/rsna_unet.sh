#!/usr/bin/env sh
# U-Net to boxes on RSNA's layout: features tables, one run an optimiser, a longer run with thresholds chosen on validation,
# boxes of new DICOM files. On phantoms, at a size for two CPU cores. Not measured yet at the size that stands
# here; toy sizes (FILMS=24 SIZE=64 FIRST=1 EPOCHS=1 OPTIMIZERS=adamw) show that every step runs, and nothing more.
set -eu

work=${1:-runs/rsna-unet-$(date +%Y%m%d-%H%M%S)}
films=${FILMS:-240} size=${SIZE:-128} first=${FIRST:-3} epochs=${EPOCHS:-12}
optimizers=${OPTIMIZERS:-adam adamw adamax sgd adagrad}
mkdir -p "$work"
work=$(cd "$work" && pwd)

step() { printf '\n== %s (%s s so far)\n' "$1" "$(($(date +%s) - started))"; }
started=$(date +%s)

step "Phantoms in RSNA's layout, and the features of their headers"
xraycls --quiet data phantom --layout rsna --number "$films" --size 256 --seed 42 "$work/rsna"
xraycls data rsna-features "$work/rsna" --output "$work/rsna"

# Train on them: learn NAME EPOCHS [FLAGS].
learn() {
	name=$1 lasting=$2
	shift 2
	xraycls unet train --data "$work/rsna/stage_2_train_images" --labels "$work/rsna/train.csv" --backbone resnet18 \
		--size "$size" --epochs "$lasting" --batch-size 8 --save "$work/$name" "$@"
}

for optimizer in $optimizers; do
	step "A short run with $optimizer"
	case $optimizer in
	sgd) rate=0.05 ;;
	adagrad) rate=0.01 ;;
	*) rate=0.001 ;;
	esac
	learn "$optimizer" "$first" --optimizer "$optimizer" --lr "$rate"
done

step "The best of them goes on for longer"
best=$(for optimizer in $optimizers; do
	tail -n 1 "$work/$optimizer/metrics.csv" | cut -d, -f4 | sed "s/$/ $optimizer/"
done | sort -g | head -n 1 | cut -d' ' -f2)
echo "The lowest validation loss is that of $best."
learn marathon "$epochs" --checkpoint "$work/$best/checkpoints/best.safetensors" --train-threshold --save-images
xraycls unet evaluate "$work/marathon"

step "Boxes of new films"
xraycls unet predict "$work/marathon" --data "$work/rsna/stage_2_test_images" --output "$work/boxes" --annotations original

step "Done"
echo "Look at $work/boxes/images, $work/boxes/annotations.json and $work/marathon/images."
