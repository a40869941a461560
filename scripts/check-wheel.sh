#!/bin/sh
# Builds what a release publishes, checks its metadata, installs the wheel without the checkout's
# help in a clean environment, and builds the digits example's model from it: proves that the data
# folders and the licence are inside and that TensorFlow is not needed for a .tflite.
set -eu
python=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m build --outdir "$work/dist" . >"$work/build.log" 2>&1 || { tail -20 "$work/build.log"; exit 1; }
"$python" -m twine check --strict "$work"/dist/*
"$python" -m zipfile -l "$work"/dist/*.whl | grep -q 'licenses/LICENSE' || { echo "the wheel has no licence"; exit 1; }
(cd examples/digits && "../../$python" train.py && "../../$python" -m edgebuild build --target cortex-m4)
cp examples/digits/build/digits-cortex-m4/model.tflite "$work/"
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt "$work"/dist/*.whl
cd "$work"
"$work/venv/bin/python" -c "import importlib.util as u; assert u.find_spec('tensorflow') is None"
"$work/venv/bin/edgebuild" check model.tflite --target cortex-m4
"$work/venv/bin/edgebuild" build model.tflite --target cortex-m4 --out "$work/out"
echo "the wheel checks and builds the example"
