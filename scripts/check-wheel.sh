#!/bin/sh
# Builds the wheel, installs it without the checkout's help in a clean environment, and builds the
# digits example's model from it: proves that the data folders are inside and that TensorFlow is not
# needed for a .tflite.
set -eu
python=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m build --wheel --outdir "$work/dist" . >"$work/build.log" 2>&1 || { tail -20 "$work/build.log"; exit 1; }
(cd examples/digits && "../../$python" train.py && "../../$python" -m edgebuild build --target cortex-m4)
cp examples/digits/build/digits-cortex-m4/model.tflite "$work/"
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt "$work"/dist/*.whl
cd "$work"
"$work/venv/bin/python" -c "import importlib.util as u; assert u.find_spec('tensorflow') is None"
"$work/venv/bin/edgebuild" build model.tflite --target cortex-m4 --out "$work/out"
echo "the wheel builds the example"
