"""CMSIS-NN's functions in firmware that the simulator runs as it runs a model of ours.

``peer_image`` compiles CMSIS-NN's sources, which stay where they are, with a generated program that
calls its function of each layer; the program's table is an ``eb_model``, with each call a layer.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgebuild.codegen.linker import render_linker_script
from edgebuild.graph import Graph, Node
from edgebuild.memory import STACK_BYTES
from edgebuild.ops.convolution import effective_scales, own_bias, pad_before
from edgebuild.ops.fixed_point import (
    activation_range,
    quantize_multiplier,
    quantize_multipliers,
)
from edgebuild.regions import required_placement
from edgebuild.resources import resource_dir
from edgebuild.targets import TargetProfile
from edgebuild.toolchain import CompileJob, Image, parse_tool

FOLDERS = ("BasicMath", "Convolution", "FullyConnected", "NNSupport", "Pooling")
FLOAT_TYPES = ("f16", "f32", "flt")
"""Ends of the names of sources for floats."""

QUIET = "".join(
    f'#pragma GCC diagnostic ignored "-W{name}"\n'
    for name in (
        *("conversion", "sign-conversion", "sign-compare", "unused-parameter", "unused-variable"),
        *("implicit-fallthrough", "unused-function", "attributes", "unknown-pragmas"),
    )
)
"""Before CMSIS-NN's sources, as all that is compiled here must have no warning."""

DEFINES = {"CMSIS_NN_USE_REQUANTIZE_INLINE_ASSEMBLY": ""}
"""What CMSIS-NN says is faster on a Cortex-M4."""

SCRATCH_BYTES = 1 << 16
ADD_LEFT_SHIFT = 20

FUNCTIONS = {
    "CONV_2D": "arm_convolve_wrapper_s8",
    "DEPTHWISE_CONV_2D": "arm_depthwise_conv_wrapper_s8",
    "FULLY_CONNECTED": "arm_fully_connected_s8",
    "AVERAGE_POOL_2D": "arm_avgpool_s8",
    "MAX_POOL_2D": "arm_max_pool_s8",
    "ADD": "arm_elementwise_add_s8",
    "MUL": "arm_elementwise_mul_s8",
}
"""What runs an operator."""

Places = list[list[tuple[int, int]]]
"""Of each graph: (offset in the arena, bytes) of each tensor."""

Code = tuple[list[str], str]
"""Declarations, and the statements that call a function and return its status."""


def commit_of(sources: Path) -> str:
    """Return the commit of CMSIS-NN's sources: from git, or in a tree without its history from the
    file COMMIT, where whoever exported it may have noted it."""
    if (sources / ".git").exists():
        command = ["git", "-C", str(sources), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    written = sources / "COMMIT"
    return written.read_text().strip() if written.is_file() else "unknown"


def peer_image(
    graphs: Sequence[Graph], sources: Path, target: TargetProfile, tool: str, out: Path
) -> Image:
    """Compile and link the program that runs ``graphs``, of one operator each, in order."""
    compiler, level = parse_tool(tool)
    eb_header = resource_dir("firmware") / "runtime" / "edgebuild" / "eb.h"
    files = {**library(sources), "eb.h": eb_header.read_text(), "peer.c": QUIET + program(graphs)}
    job = CompileJob(files, (".", "Include"), DEFINES, level)
    placement = required_placement(target.placement, target.name)
    script = render_linker_script(placement, STACK_BYTES, "peer", ())
    return compiler.build_image(job, target.cpu.core, script, out)


def library(sources: Path) -> dict[str, str]:
    """Return CMSIS-NN's integer sources and its headers by path."""
    paths = sorted((sources / "Include").rglob("*.h"))
    for folder in FOLDERS:
        inside = sorted((sources / "Source" / f"{folder}Functions").glob("*.[ch]"))
        paths += [p for p in inside if not p.stem.endswith(FLOAT_TYPES)]
    found = {}
    for path in paths:
        text = path.read_text()
        name = path.relative_to(sources).as_posix()
        found[name] = QUIET + text if path.suffix == ".c" else text
    return found


def program(graphs: Sequence[Graph]) -> str:
    """Return the C program: data and a function of each layer, and their table."""
    arena, inputs, outputs = _places(graphs)
    parts = [_HEAD.format(scratch=SCRATCH_BYTES, arena=arena)]
    parts += [_layer(number, graph.node(0)) for number, graph in enumerate(graphs)]
    parts += [_infos("inputs", inputs), _infos("outputs", outputs)]
    steps = []
    for number, places in enumerate(zip(inputs, outputs, strict=True)):
        arguments = ", ".join(
            f"(int8_t *)(eb_arena + {offset})" for side in places for offset, _ in side
        )
        steps.append(_STEP.format(number=number, arguments=arguments))
    counts = {"inputs": sum(map(len, inputs)), "outputs": sum(map(len, outputs))}
    parts.append(_TAIL % {"steps": "".join(steps), "layers": len(graphs), **counts})
    return "\n".join(parts)


def _places(graphs: Sequence[Graph]) -> tuple[int, Places, Places]:
    """Return the arena's bytes, and (offset, bytes) of each graph's inputs and outputs."""
    end = 0
    found: tuple[Places, Places] = ([], [])
    for graph in graphs:
        for tensors, places in zip((graph.input_tensors, graph.output_tensors), found, strict=True):
            places.append([])
            for tensor in tensors:
                places[-1].append((end, tensor.nbytes))
                end += -(-tensor.nbytes // 16) * 16
    return end, *found


def _infos(name: str, places: Places) -> str:
    rows = [place for row in places for place in row]
    infos = ", ".join(f"{{ .bytes = {size} }}" for _, size in rows)
    offsets = ", ".join(str(offset) for offset, _ in rows)
    return (
        f"static const eb_tensor_info {name}[] = {{ {infos} }};\n"
        f"static const uint32_t {name}_at[] = {{ {offsets} }};"
    )


def _layer(number: int, node: Node) -> str:
    """Return the C function ``layerN(inputs..., output)``."""
    data, call = CALLS[node.kind](node)
    activations = [t for t in node.inputs if t is not None and not t.is_constant]
    arguments = ", ".join([*(f"const int8_t *x{i}" for i in range(len(activations))), "int8_t *y"])
    body = "\n    ".join([*data, call])
    return f"static int layer{number}({arguments})\n{{\n    {body}\n}}"


def _array(ctype: str, name: str, values: np.ndarray) -> str:
    numbers = ",".join(map(str, np.ravel(values).tolist()))
    return f"static const {ctype} {name}[] = {{{numbers}}};"


def _dims(name: str, shape: Sequence[int]) -> str:
    n, h, w, c = shape
    return f"static const cmsis_nn_dims {name} = {{ {n}, {h}, {w}, {c} }};"


def _limits(node: Node) -> str:
    low, high = activation_range(node.attrs["fused_activation_function"], node.output)
    return f"{low}, {high}"


def _tiles(node: Node, kernel: tuple[int, int]) -> tuple[str, str, str]:
    """Return stride, padding and dilation as ``cmsis_nn_tile``: width, height."""
    a, x, y = node.attrs, node.input(0).shape, node.output.shape
    stride = a["stride_h"], a["stride_w"]
    dilation = a.get("dilation_h_factor", 1), a.get("dilation_w_factor", 1)
    pads = [pad_before(x[i + 1], y[i + 1], kernel[i], stride[i], dilation[i]) for i in (0, 1)]
    first, second, third = (f"{{ {w}, {h} }}" for h, w in (stride, pads, dilation))
    return first, second, third


def _weights(node: Node) -> list[str]:
    """Return the declarations of weights ``w``, biases ``b`` and multipliers ``q``."""
    data = node.input(1).data
    assert data is not None
    channels = node.output.shape[-1]
    real = effective_scales(node, single_precision_product=True)
    multiplier, shift = quantize_multipliers(real)
    rows = np.zeros((channels, 1), np.int8)
    found = [_array("int8_t", "w", data), _array("int32_t", "b", own_bias(node, rows))]
    if node.kind == "FULLY_CONNECTED":
        assert len(multiplier) == 1
        pair = f"{{ {multiplier[0]}, {shift[0]} }}"
        return [*found, f"static const cmsis_nn_per_tensor_quant_params q = {pair};"]
    return [
        *found,
        _array("int32_t", "multiplier", np.resize(multiplier, channels)),
        _array("int32_t", "shift", np.resize(shift, channels)),
        "static const cmsis_nn_per_channel_quant_params q = "
        "{ (int32_t *)multiplier, (int32_t *)shift };",
    ]


_ARGUMENTS = "(&context, &p, &q, &x_dims, x0, &w_dims, w, &b_dims, b, &y_dims, y);"


def _convolution(node: Node) -> Code:
    weights = node.input(1).shape
    depthwise = node.kind == "DEPTHWISE_CONV_2D"
    stride, pad, dilation = _tiles(node, (weights[1], weights[2]))
    multiplier = f" {node.attrs['depth_multiplier']}," if depthwise else ""
    kind = "cmsis_nn_dw_conv_params" if depthwise else "cmsis_nn_conv_params"
    offsets = f"{-node.input(0).zero_point}, {node.output.zero_point}"
    fields = f"{offsets},{multiplier} {stride}, {pad}, {dilation}, {{ {_limits(node)} }}"
    data = [
        *_weights(node),
        f"static const {kind} p = {{ {fields} }};",
        _dims("x_dims", node.input(0).shape),
        _dims("w_dims", weights),
        _dims("b_dims", (1, 1, 1, node.output.shape[3])),
        _dims("y_dims", node.output.shape),
    ]
    return data, f"return {FUNCTIONS[node.kind]}{_ARGUMENTS}"


def _dense(node: Node) -> Code:
    units, depth = node.input(1).shape
    batches = node.input(0).elements // depth
    offsets = f"{-node.input(0).zero_point}, 0, {node.output.zero_point}"
    data = [
        *_weights(node),
        f"static const cmsis_nn_fc_params p = {{ {offsets}, {{ {_limits(node)} }} }};",
        _dims("x_dims", (batches, 1, 1, depth)),
        _dims("w_dims", (depth, 1, 1, units)),
        _dims("b_dims", (1, 1, 1, units)),
        _dims("y_dims", (batches, 1, 1, units)),
    ]
    return data, f"return {FUNCTIONS[node.kind]}{_ARGUMENTS}"


def _pool(node: Node) -> Code:
    size = node.attrs["filter_height"], node.attrs["filter_width"]
    stride, pad, _ = _tiles(node, size)
    data = [
        f"static const cmsis_nn_pool_params p = {{ {stride}, {pad}, {{ {_limits(node)} }} }};",
        _dims("x_dims", node.input(0).shape),
        _dims("w_dims", (1, *size, 1)),
        _dims("y_dims", node.output.shape),
    ]
    return data, f"return {FUNCTIONS[node.kind]}(&context, &p, &x_dims, x0, &w_dims, &y_dims, y);"


def _elementwise(node: Node, operands: str, multiplier: tuple[int, int]) -> Code:
    """Return a call for each run of values that both operands have; the second one may be a row of
    channels. ``operands`` are the numbers between the operands and the output."""
    a, b = node.input(0), node.input(1)
    assert a.shape == b.shape or set(b.shape[:-1]) == {1}
    stage = f"{node.output.zero_point}, {multiplier[0]}, {multiplier[1]}, {_limits(node)}"
    call = f"{FUNCTIONS[node.kind]}(x0 + i, x1, {operands}, y + i, {stage}, {b.elements})"
    loop = f"for (int i = 0; i < {a.elements}; i += {b.elements}) {{"
    return ["int status = 0;"], f"{loop}\n        status |= {call};\n    }}\n    return status;"


def _add(node: Node) -> Code:
    a, b, y = _scales(node)
    twice = 2.0 * max(a, b)
    zeros = -node.input(0).zero_point, -node.input(1).zero_point
    first, second = quantize_multiplier(a / twice), quantize_multiplier(b / twice)
    numbers = (zeros[0], *first, zeros[1], *second, ADD_LEFT_SHIFT)
    multiplier = quantize_multiplier(twice / ((1 << ADD_LEFT_SHIFT) * y))
    return _elementwise(node, ", ".join(map(str, numbers)), multiplier)


def _mul(node: Node) -> Code:
    a, b, y = _scales(node)
    zeros = f"{-node.input(0).zero_point}, {-node.input(1).zero_point}"
    return _elementwise(node, zeros, quantize_multiplier(a * b / y))


def _scales(node: Node) -> list[float]:
    """Return the scales of both operands and of the output, as TFLite reads them."""
    return [float(np.float32(t.scale)) for t in (node.input(0), node.input(1), node.output)]


CALLS: dict[str, Callable[[Node], Code]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _dense,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "ADD": _add,
    "MUL": _mul,
}

_HEAD = """#include "arm_nnfunctions.h"
#include "eb.h"

static int32_t scratch[{scratch} / 4];
static const cmsis_nn_context context = {{ scratch, sizeof scratch }};
__attribute__((section(".eb_arena"), aligned(16))) uint8_t eb_arena[{arena}];

void eb_layer_done(uint32_t layer);
__attribute__((noinline)) void eb_layer_done(uint32_t layer)
{{
    __asm volatile("" ::"r"(layer) : "memory");
}}
"""

_STEP = """    status = layer{number}({arguments});
    if (status) {{
        return status;
    }}
    eb_layer_done({number});
"""

_TAIL = """
static int init(void *arena, size_t bytes)
{
    (void)arena, (void)bytes;
    return 0;
}

static int run(void *arena)
{
    int status;
    (void)arena;
%(steps)s    return 0;
}

static void *input(void *arena, uint32_t index)
{
    return (uint8_t *)arena + inputs_at[index];
}

static const void *output(const void *arena, uint32_t index)
{
    return (const uint8_t *)arena + outputs_at[index];
}

static const eb_model model = {
    .name = "peer",
    .arena_bytes = sizeof eb_arena,
    .layer_count = %(layers)d,
    .input_count = %(inputs)d,
    .output_count = %(outputs)d,
    .inputs = inputs,
    .outputs = outputs,
    .init = init,
    .run = run,
    .input = input,
    .output = output,
};

const eb_model *const eb_app_model = &model;

int main(void)
{
    return run(eb_arena);
}
"""
