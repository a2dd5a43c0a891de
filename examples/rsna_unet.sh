#!/usr/bin/env sh
# U-Net to boxes on RSNA's layout: features tables, a sweep over optimisers, a longer run of the best with thresholds chosen
# on validation, boxes of new DICOM files. On phantoms, at a size for two CPU cores: 19 minutes beside other programs. Toy
# sizes (FILMS=24 SIZE=64 FIRST=1 EPOCHS=1 OPTIMIZERS=adamw) show that every step runs, and nothing more.
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

# The learning rate that suits an optimiser.
rate() {
	case $1 in
	sgd) echo 0.05 ;;
	adagrad) echo 0.01 ;;
	*) echo 0.001 ;;
	esac
}

# A command with the flags that all trainings share.
on_films() {
	"$@" --data "$work/rsna/stage_2_train_images" --labels "$work/rsna/train.csv" --backbone resnet18 --size "$size" --batch-size 8
}

step "Short runs with each optimiser, two at a time"
set --
for optimizer in $optimizers; do
	set -- "$@" --set "$optimizer:lr=$(rate "$optimizer")"
done
on_films xraycls sweep unet --epochs "$first" --over "optimizer=$(echo "$optimizers" | tr ' ' ,)" "$@" \
	--set loop.monitor=loss --workers 2 --output "$work/optimizers"

best=$(basename "$(readlink "$work/optimizers/best")") # such as 002-adamw
best=${best#*-}
step "The best of them, $best, goes on for longer"
on_films xraycls unet train --epochs "$epochs" --optimizer "$best" --lr "$(rate "$best")" --train-threshold --save-images \
	--checkpoint "$work/optimizers/best/checkpoints/best.safetensors" --save "$work/marathon"
xraycls unet evaluate "$work/marathon"

step "Boxes of new films"
xraycls unet predict "$work/marathon" --data "$work/rsna/stage_2_test_images" --output "$work/boxes" --annotations original

step "Done"
echo "Look at $work/optimizers/report.html, $work/boxes/images, $work/boxes/annotations.json and $work/marathon/images."
