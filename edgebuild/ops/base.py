"""What one operator is: its limits in words, its shapes, its integer reference, its kernel.

An operator is one module in this package with one ``Operator`` subclass, one folder in
``firmware/runtime/edgebuild``, and one line in ``edgebuild.ops.OPS``.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from edgebuild.graph import Graph, Node
from edgebuild.targets import CpuFeatures

Shape = tuple[int, ...]
MANY = 1 << 15
ParamValue = "int | float | str | bool | tuple[int, ...] | np.ndarray | Mapping[str, ParamValue]"


@dataclass(frozen=True)
class Constraint:
    """A limit of an operator: one sentence, and the check that it states.

    The sentence is the user's error ("CONV_2D (operator 3): weights are constant") and a row of the
    table that ``edgebuild ops list`` prints. ``check`` must not raise on any structurally valid
    node whose earlier constraints hold.
    """

    sentence: str
    check: Callable[[Node], bool]


@dataclass(frozen=True)
class Window:
    """A sliding window's geometry over an NHWC image."""

    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    out_h: int
    out_w: int
    pad_top: int
    pad_left: int

    @classmethod
    def of_pixels(cls, image: Shape) -> Window | None:
        """Return that of single pixels; None where there are no rows of NHWC."""
        return cls(1, 1, 1, 1, 1, 1, *image[1:3], 0, 0) if len(image) == 4 else None


@dataclass(frozen=True)
class Overlap:
    """Where output 0 may overlap input 0: the input begins ``least`` bytes or more above the start
    of the output (below it, where that is negative). Where ``apart`` is set, the bytes between
    their starts are a multiple of it."""

    least: int
    apart: int = 0


@dataclass(frozen=True)
class KernelCall:
    """How generated code runs one node: which C function, with which constant parameters.

    The call is ``function(&params, inputs..., outputs..., scratch)``:

    * ``params`` become ``static const <params_type>`` with designated initialisers. An int, float
      or bool is printed as such, a str as a C expression, a tuple as an inline array, a mapping as
      a nested struct, and a NumPy array as a pointer to a ``static const`` array in flash (shared
      when the bytes are equal). Without ``params_type`` the call has no params argument.
    * ``inputs`` are positions of node inputs that are passed as pointers (weights that live in
      ``params`` are left out). With ``inputs_as_array`` they go as one
      ``const void *const *`` argument; ``outputs_as_array`` likewise, as ``void *const *``.
    * ``scratch`` (``void *``, aligned to 16) is passed only when ``scratch_bytes`` > 0. Its
      lifetime is this call.
    * ``in_place`` lists (input position, output position) pairs that may be given the same address
      with an exact result. ``overlap`` says how output 0 may overlap input 0 besides.
    * ``view`` is True for operators that only rename memory (RESHAPE): when input 0 and output 0
      got the same address no call is emitted.
    * With ``rounds`` it is no call of its own but those of their parts, which run ``operators``
      operators of the graph in bands of rows (see ``bands``).
    """

    function: str
    header: str
    sources: tuple[str, ...]
    params_type: str | None = None
    params: Mapping[str, object] = field(default_factory=dict)
    inputs: tuple[int, ...] = (0,)
    inputs_as_array: bool = False
    outputs_as_array: bool = False
    scratch_bytes: int = 0
    in_place: tuple[tuple[int, int], ...] = ()
    overlap: Overlap | None = None
    view: bool = False
    rounds: tuple[Round, ...] = ()
    operators: int = 1

    @property
    def kernels(self) -> tuple[KernelCall, ...]:
        """The calls that are printed: itself, or those of its parts."""
        return tuple(part.call for one in self.rounds for part in one.parts) or (self,)


@dataclass(frozen=True)
class Place:
    """Where a part of a step finds bytes: from ``offset`` on in the step's input, output or scratch
    memory, and ``step`` bytes further in each round."""

    memory: Literal["input", "output", "scratch"]
    offset: int
    step: int = 0


@dataclass(frozen=True)
class Part:
    """A kernel's call for some rows. ``node`` is the operator on these rows alone; ``scratch`` is
    where the kernel's own begins in that of the step, ``operator`` which of the step's it is, None
    where it moves rows."""

    node: Node
    call: KernelCall
    inputs: tuple[Place, ...]
    output: Place
    scratch: int = 0
    operator: int | None = None


@dataclass(frozen=True)
class Round:
    """Parts that run one after the other, ``times`` times."""

    times: int
    parts: tuple[Part, ...]

    @property
    def parts_of_input(self) -> tuple[Part, ...]:
        """Those that take a row from the caller, in a step whose input comes by rows."""
        return tuple(part for part in self.parts if part.operator == 0)


def executed(node: Node, call: KernelCall) -> Iterator[tuple[Node, KernelCall]]:
    """Yield each kernel's call that a step makes, in order, with the operator that it runs."""
    if not call.rounds:
        yield node, call
    for one in call.rounds:
        for _ in range(one.times):
            for part in one.parts:
                yield dataclasses.replace(part.node, position=node.position), part.call


@dataclass(frozen=True)
class Case:
    """A one-operator model that the kernel tests compile, run and compare bit for bit."""

    name: str
    graph: Graph


class Operator(ABC):
    """Everything edgebuild knows of one operator kind."""

    kind: ClassVar[str]
    most_operands: ClassVar[int] = 1
    """The most inputs, absent ones included; ``MANY`` where TFLite Micro does not look at further
    ones. That none is missing is for ``constraints`` to check."""
    constraints: ClassVar[tuple[Constraint, ...]] = ()

    @abstractmethod
    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the shapes of the outputs, from inputs and attributes."""

    @abstractmethod
    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Compute the outputs in NumPy with TFLite Micro's integer arithmetic, bit for bit.

        ``inputs`` follow ``node.inputs``, constants included; None where absent.
        """

    @abstractmethod
    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the kernel that usually runs ``node`` on ``cpu``."""

    def candidates(self, node: Node, cpu: CpuFeatures) -> tuple[KernelCall, ...]:
        """Return all kernels that may run ``node`` on ``cpu``, with the same outputs, the usual one
        first. Beside one for the DSP extension that is the portable one: it is smaller, and faster
        where the other prepares much for few outputs."""
        usual = self.kernel(node, cpu)
        if not cpu.dsp or cpu.mve:
            return (usual,)
        portable = self.kernel(node, CpuFeatures())
        return (usual,) if portable.sources == usual.sources else (usual, portable)

    def fastest(self, node: Node, cpu: CpuFeatures, scratch: int) -> tuple[KernelCall, float]:
        """Return the kernel for a core without a cycle model where speed counts, with at most
        ``scratch`` bytes of scratch memory unless the usual one takes more, and about which share
        of the usual one's instructions it takes."""
        return self.kernel(node, cpu), 1.0

    def window(self, node: Node) -> Window | None:
        """Return through which window each row of the output depends on rows of the input, where
        the operator may run in bands of rows; None where it may not."""
        return None

    def row_sums(self, node: Node, rows: int, first: bool, last: bool) -> KernelCall | None:
        """Return the kernel that adds so many ``rows`` of an image, perhaps the ``first`` or the
        ``last`` ones, to sums in scratch memory that lasts, of which the last make the output; None
        where the output is not made of such sums."""
        return None

    def effective_scales(self, node: Node) -> Iterable[float]:
        """Return the real factors by which ``node`` rescales its integers, all that there are."""
        return ()

    def contradictions(self, node: Node) -> Iterable[str]:
        """Yield what the file says of ``node`` beside its shapes and scales that cannot be true."""
        return ()

    def macs(self, node: Node) -> int:
        """Return the multiply-accumulates of one inference; 0 for operators without any."""
        return 0

    def steps(self, node: Node) -> int:
        """Return roughly how many values one inference computes with, or moves."""
        return max(self.macs(node), *(tensor.elements for tensor in node.outputs), 1)

    @abstractmethod
    def cases(self) -> Iterable[Case]:
        """Yield small models that together reach every branch of the kernel and its limits."""
