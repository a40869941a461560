"""Phones' NPUs: what a model compiles to is known only to the vendor's compiler.

LiteRT compiles for one chip, ahead of time, with the vendor's SDK
(``edgebuild.toolchain.npu.compile_for_npu``). Before that nothing is claimed: every operator's
verdict is that it is not known.
"""

from __future__ import annotations

import dataclasses
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, util
from pathlib import Path

from edgebuild.delegates.base import Compatibility, compatibility
from edgebuild.errors import InputError, nearest
from edgebuild.graph import Graph
from edgebuild.profile import Delegate

COMPILED_OP = "CUSTOM DISPATCH_OP"
"""The operator that LiteRT's compiler leaves in place of those that the NPU runs."""
_SOURCE = "ai-edge-litert: ai_edge_litert.aot, which asks the vendor's compiler plug-in"


@dataclass(frozen=True)
class Sdk:
    """A vendor's SDK for LiteRT: its package, the module that holds the libraries, and LiteRT's own
    module that lists the chips."""

    vendor: str
    package: str
    module: str
    targets: str

    @property
    def folder(self) -> Path | None:
        """Where its libraries are; None where the package is absent or came without them."""
        found = util.find_spec(self.module)
        if found is None or found.origin is None:
            return None
        data = Path(found.origin).parent / "data"
        return data if data.is_dir() else None

    def missing(self) -> str:
        """Return why it cannot compile here, in words; empty where it can."""
        if sys.platform != "linux" or platform.machine() != "x86_64":
            return f"{self.vendor}'s SDK for LiteRT is for Linux on x86-64"
        if util.find_spec(self.module) is None:
            return f"{self.vendor}'s SDK for LiteRT is not installed"
        if self.folder is None:
            return (
                f"{self.package} is installed without {self.vendor}'s libraries, which pip "
                "downloads from the vendor while it installs"
            )
        return ""

    @property
    def hint(self) -> str:
        """What to install."""
        return (
            f"pip install --no-cache-dir --force-reinstall --no-deps {self.package}, with access "
            "to the vendor's server"
        )


SDKS: Mapping[str, Sdk] = {
    "qualcomm": Sdk(
        "Qualcomm",
        "ai-edge-litert-sdk-qualcomm",
        "ai_edge_litert_sdk_qualcomm",
        "ai_edge_litert.aot.vendors.qualcomm.target",
    ),
    "mediatek": Sdk(
        "MediaTek",
        "ai-edge-litert-sdk-mediatek",
        "ai_edge_litert_sdk_mediatek",
        "ai_edge_litert.aot.vendors.mediatek.target",
    ),
    "google": Sdk(
        "Google Tensor",
        "ai-edge-litert-sdk-google-tensor",
        "ai_edge_litert_sdk_google_tensor",
        "ai_edge_litert.aot.vendors.google_tensor.target",
    ),
}
"""By ``Delegate.vendor``."""


def known_chips(vendor: str) -> tuple[str, ...]:
    """Return the chips of ``vendor`` that the installed LiteRT compiles for; none where it cannot
    tell."""
    try:
        chips = import_module(SDKS[vendor].targets).SocModel
    except ImportError:
        return ()
    return tuple(str(chip.value) for chip in chips if chip.value != "ALL")


def known_chip(delegate: Delegate) -> str:
    """Return the delegate's chip; InputError where LiteRT tells its chips and has no such one."""
    vendor, soc = delegate.vendor or "", delegate.soc or ""
    known = known_chips(vendor)
    if known and soc not in known:
        raise InputError(
            f"LiteRT does not compile for {SDKS[vendor].vendor} chip '{soc}'{nearest(soc, known)}",
            details=[f"known: {', '.join(known)}"],
            hint="delegate.soc of the target profile names the chip",
        )
    return soc


def npu_model_name(soc: str) -> str:
    """Return the name of the model compiled for the chip ``soc`` in a build."""
    return f"model_{soc}.tflite"


def check(graph: Graph, delegate: Delegate) -> Compatibility:
    """Return that nothing is known of ``graph`` before it is compiled for the chip.

    InputError for a chip that LiteRT does not compile for.
    """
    sdk, soc = SDKS[delegate.vendor or ""], known_chip(delegate)
    missing = sdk.missing()
    reason = f"not known before it is compiled for {soc}"
    notes = [
        f"Which operators the NPU of {soc} takes, only {sdk.vendor}'s compiler knows; "
        "until a model is compiled all of them count as left to the CPU."
    ]
    if missing:
        notes.append(f"{missing}: {sdk.hint}")
    found = compatibility(
        graph,
        f"{sdk.vendor} NPU",
        [reason] * len(graph.ops),
        sources=[_SOURCE],
        notes=notes,
    )
    return dataclasses.replace(found, known=False)


def after_compilation(
    predicted: Compatibility, graph: Graph, npu_operators: int, operators: int
) -> Compatibility:
    """Return what is known of ``graph`` once it is compiled.

    Where the NPU runs every operator, all are its own; else which it runs is not told, and stays
    unknown.
    """
    if npu_operators < operators:
        return predicted
    return compatibility(graph, predicted.delegate, [""] * len(graph.ops), sources=[_SOURCE])
