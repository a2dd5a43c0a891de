#!/usr/bin/env sh
# From trained models to what servers read: every form and precision, the comparison with torch, figures in 8 bits on
# validation images, a model repository of Triton that is served and asked, DeepStream's settings, and how fast each
# runtime answers.
#
#   sh examples/deploy.sh runs/siim-ssd-…/retrained runs/yolo-v4-…/retrained runs/faster-rcnn-…/retrained
#
# takes run folders (those of the other examples, or any) and files of weights. Without any, a classifier and the
# detectors of NETWORKS are trained on phantoms first, shortly and for 8 bits; one that is given and wasn't is calibrated
# on its training films. A model that falls by more than DROP in 8 bits is told at the end, and so is its reason.
# Toy sizes that show every step (about 5 CPU minutes a model): FILMS=24 SIZE=64 EPOCHS=1 DROP=0.5 CALIBRATION=12 BATCHES=1,2 sh examples/deploy.sh
set -eu

here=$(cd "$(dirname "$0")" && pwd)
work=${WORK:-runs/deploy-$(date +%Y%m%d-%H%M%S)}
films=${FILMS:-120} size=${SIZE:-96} epochs=${EPOCHS:-4} drop=${DROP:-0.02} batches=${BATCHES:-1,8}
networks=${NETWORKS:-ssd yolo_v4 faster_rcnn} calibration=${CALIBRATION:-80}
server=${TRITON:-$work/tritonserver} port=${PORT:-18000}
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
		backbone=resnet10 fewer=loop.epochs=$epochs
		case $network in
		yolo_v4) backbone=cspdarknet_tiny ;;
		faster_rcnn) fewer=detector.loss.roi_batch=16 ;; # its second stage computes each box anew
		esac
		xraycls detector train --data "$work/boxes" --set "detector.network=$network" --set "detector.backbone=$backbone" \
			--set "detector.width=$size" --set "detector.height=$size" --set "loop.epochs=$epochs" --set qat=true \
			--set "$fewer" --output "$work/$network"
		set -- "$@" "$work/$network"
	done
fi

precisions=fp16,bf16
if ! python -c 'import openvino' 2>/dev/null; then
	echo "bf16 is left out: OpenVINO, which checks it, isn't installed (pip install .[openvino])."
	precisions=fp16
fi

# All files of a model: deploy MODEL NUMBER.
deploy() {
	folder=$work/exported-$2 deepstream=$work/deepstream-$2
	step "$1: in every precision, and for Triton"
	xraycls export "$1" -o "$folder" --triton "$work/models" --triton-name "model-$2" --triton-backend python
	xraycls export "$1" -o "$folder" --precision "$precisions"
	if grep -q '"kind": "detector"' "$folder/export.json" && ! grep -q '"form": "maps"' "$folder/export.json"; then
		step "$1: in the other forms of detectors"
		xraycls export "$1" -o "$folder" --form heads,tao,trt
	fi
	step "$1: in 8 bits, with the figures on its validation images"
	for precision in int8 u8s8; do
		xraycls export "$1" -o "$folder" --precision "$precision" --calibration-images "$calibration" \
			--max-drop "$drop" || echo "$1 in $precision" >>"$work/failed"
	done
	step "$1: for DeepStream, in the form of TAO's files"
	xraycls export "$1" -o "$deepstream" --deepstream
	# nvinfer looks for these beside its configuration.
	for name in $(sed -n -e 's/^onnx-file=//p' -e 's/^labelfile-path=//p' "$deepstream/nvinfer_config.txt"); do
		test -s "$deepstream/$name"
	done
}

# Two models at a time, as most of an export uses one processor; what each says is shown when it is done.
rm -f "$work/failed"
number=0 running="" broken=0
for model in "$@" ""; do
	if [ -n "$model" ]; then
		number=$((number + 1))
		deploy "$model" "$number" >"$work/model-$number.log" 2>&1 &
		running="$running $number:$!"
	fi
	if [ -z "$model" ] || [ $((number % 2)) -eq 0 ]; then
		for each in $running; do
			wait "${each#*:}" || broken=1
			cat "$work/model-${each%:*}.log"
		done
		running=""
	fi
done
[ "$broken" -eq 0 ] || exit 1

number=0
for model in "$@"; do
	number=$((number + 1))
	step "$model: how fast"
	xraycls bench inference "$model" "$work/exported-$number" --batch-sizes "$batches" --rounds 3 \
		--output "$work/bench-$number"
done

step "A tritonserver with all of them, asked about a film"
if [ -x "$server/bin/python" ] || { python -m uv venv --quiet "$server" &&
	python -m uv pip install --quiet --python "$server/bin/python" -r "$here/triton/requirements.txt"; }; then
	xraycls --quiet data phantom --number 6 --size 200 "$work/film" >/dev/null
	film=$(find "$work/film" -name '*.jpeg' | head -n 1)
	for name in $(seq -f 'model-%.0f' "$number"); do
		echo "\"$server/bin/python\" \"$here/triton/client.py\" --least 0.3 --url localhost:$port $name \"$film\" || exit 1"
	done >"$work/ask.sh"
	"$server/bin/python" "$here/triton/server.py" "$work/models" --port "$port" --log "$work/tritonserver.log" -- \
		sh "$work/ask.sh"
else
	echo "Nothing was asked: the wheel nvidia-pytriton, which carries a tritonserver, can't be installed here."
fi

step "Done"
echo "Look at:"
echo "  $work/exported-*/export.json        what was compared, and the figures in 8 bits"
echo "  $work/bench-*/inference.png         pictures a second by runtime"
echo "  $work/models                        tritonserver --model-repository=$work/models"
echo "  $work/deepstream-*                  nvinfer_config.txt and deepstream_app.txt"
if [ -s "$work/failed" ]; then
	echo "Not within $drop of fp32, or not to be measured, so not exported:"
	cat "$work/failed"
	exit 1
fi
