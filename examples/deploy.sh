#!/usr/bin/env sh
# From trained models to what servers read: every form and precision, the comparison with torch, figures in 8 bits on
# validation images, a model repository of Triton, DeepStream's settings, and how fast each runtime answers.
# Give models (run folders or files); without any, a classifier and a detector of phantoms are trained for 8 bits first.
# Not measured yet at the size that stands here. Toy sizes (FILMS=24 SIZE=64 EPOCHS=1) show that every step runs.
set -eu

work=${WORK:-runs/deploy-$(date +%Y%m%d-%H%M%S)}
films=${FILMS:-200} size=${SIZE:-128} epochs=${EPOCHS:-10} drop=${DROP:-0.05} batches=${BATCHES:-1,8,32}
mkdir -p "$work"

step() { printf '\n== %s (%s s so far)\n' "$1" "$(($(date +%s) - started))"; }
started=$(date +%s)

if [ $# -eq 0 ]; then
	step "Phantoms, a classifier and a detector, both with simulated rounding"
	xraycls --quiet data phantom --number "$films" --size 200 "$work/films"
	xraycls train --data "$work/films" --base-model resnet18 --weights none --size "$size" --epochs "$epochs" --qat \
		--output "$work/classifier"
	xraycls --quiet data phantom --layout siim --number "$films" --size 200 "$work/boxes"
	xraycls detector train --data "$work/boxes" --set detector.network=ssd --set detector.backbone=resnet10 \
		--set "detector.width=$size" --set "detector.height=$size" --set "loop.epochs=$epochs" --set qat=true \
		--output "$work/detector"
	set -- "$work/classifier" "$work/detector"
fi

number=0
for model in "$@"; do
	number=$((number + 1))
	folder=$work/exported-$number
	step "$model: the default form in every precision"
	for precision in fp32 fp16 bf16; do
		xraycls export "$model" -o "$folder" --precision "$precision"
	done
	step "$model: in 8 bits, with the figures on its validation images"
	xraycls export "$model" -o "$folder" --precision int8 --max-drop "$drop"
	xraycls export "$model" -o "$folder" --precision u8s8 --calibration-images "${CALIBRATION:-100}" --max-drop "$drop"
	step "$model: for Triton and DeepStream"
	xraycls export "$model" -o "$folder" --triton "$work/models" --triton-name "model-$number" --triton-backend python
	xraycls export "$model" -o "$work/deepstream-$number" --deepstream
	step "$model: how fast"
	xraycls bench inference "$model" "$folder" --batch-sizes "$batches" --rounds 5 --output "$work/bench-$number"
done

step "Done"
echo "Look at:"
echo "  $work/exported-*/export.json        what was compared, and the figures in 8 bits"
echo "  $work/bench-*/inference.png         pictures a second by runtime"
echo "  $work/models                        tritonserver --model-repository=$work/models"
echo "  $work/deepstream-*                  nvinfer_config.txt and deepstream_app.txt"
