#!/usr/bin/env sh
# From trained models to what servers read: every form and precision, the comparison with torch, figures in 8 bits on
# validation images, a model repository of Triton, DeepStream's settings, and how fast each runtime answers.
#
#   sh examples/deploy.sh runs/siim-ssd-…/retrained runs/yolo-v4-…/retrained runs/faster-rcnn-…/retrained
#
# takes run folders (those of the other examples, or any) and files of weights. Without any, a classifier and the
# detectors of NETWORKS are trained on phantoms first, for 8 bits; one that is given and wasn't is calibrated on its
# training films. A model that falls by more than DROP in 8 bits is told at the end, and so is its reason.
# Not walked whole yet, at any size: with FILMS=24 SIZE=64 EPOCHS=1 the trainings of a classifier and an SSD and their
# exports in fp32 and fp16 ran.
set -eu

work=${WORK:-runs/deploy-$(date +%Y%m%d-%H%M%S)}
films=${FILMS:-200} size=${SIZE:-128} epochs=${EPOCHS:-10} drop=${DROP:-0.02} batches=${BATCHES:-1,8,32}
networks=${NETWORKS:-ssd yolo_v4 faster_rcnn} calibration=${CALIBRATION:-100}
mkdir -p "$work"

step() { printf '\n== %s (%s s so far)\n' "$1" "$(($(date +%s) - started))"; }
started=$(date +%s)

if [ $# -eq 0 ]; then
	step "Phantoms, and a classifier of them with simulated rounding"
	xraycls --quiet data phantom --number "$films" --size 200 "$work/films"
	xraycls train --data "$work/films" --base-model resnet18 --weights none --size "$size" --epochs "$epochs" --qat \
		--redraw-val --output "$work/classifier"
	set -- "$work/classifier"
	xraycls --quiet data phantom --layout siim --number "$films" --size 200 "$work/boxes"
	for network in $networks; do
		step "A detector of them, $network"
		case $network in yolo_v4) backbone=cspdarknet_tiny ;; *) backbone=resnet10 ;; esac
		xraycls detector train --data "$work/boxes" --set "detector.network=$network" --set "detector.backbone=$backbone" \
			--set "detector.width=$size" --set "detector.height=$size" --set "loop.epochs=$epochs" --set qat=true \
			--output "$work/$network"
		set -- "$@" "$work/$network"
	done
fi

precisions="fp32 fp16 bf16"
if ! python -c 'import openvino' 2>/dev/null; then
	echo "bf16 is left out: OpenVINO, which checks it, isn't installed (pip install .[openvino])."
	precisions="fp32 fp16"
fi
failed="" number=0
for model in "$@"; do
	number=$((number + 1))
	folder=$work/exported-$number
	step "$model: in every precision"
	for precision in $precisions; do
		xraycls export "$model" -o "$folder" --precision "$precision"
	done
	step "$model: in 8 bits, with the figures on its validation images"
	for precision in int8 u8s8; do
		xraycls export "$model" -o "$folder" --precision "$precision" --calibration-images "$calibration" \
			--max-drop "$drop" || failed="$failed $model in $precision;"
	done
	step "$model: for Triton, and for DeepStream in the form of TAO's files"
	xraycls export "$model" -o "$folder" --triton "$work/models" --triton-name "model-$number" --triton-backend python
	deepstream=$work/deepstream-$number
	xraycls export "$model" -o "$deepstream" --deepstream
	# nvinfer looks for these beside its configuration.
	for name in $(sed -n -e 's/^onnx-file=//p' -e 's/^labelfile-path=//p' "$deepstream/nvinfer_config.txt"); do
		test -s "$deepstream/$name"
	done
	step "$model: how fast"
	xraycls bench inference "$model" "$folder" --batch-sizes "$batches" --rounds 5 --output "$work/bench-$number"
done

step "Done"
echo "Look at:"
echo "  $work/exported-*/export.json        what was compared, and the figures in 8 bits"
echo "  $work/bench-*/inference.png         pictures a second by runtime"
echo "  $work/models                        tritonserver --model-repository=$work/models"
echo "  $work/deepstream-*                  nvinfer_config.txt and deepstream_app.txt"
if [ -n "$failed" ]; then
	echo "Not within $drop of fp32, or not to be measured, so not exported:${failed%;}"
	exit 1
fi
