"""The configuration of a Keras model before Keras reads it: no code, nothing of Keras 2, float32.

Keras 2 wrote settings that Keras 3 does not take any more, although they have no effect at their
usual values: ``DepthwiseConv2D(groups=1)`` and the like. They are removed. A model that was trained
in half or mixed precision becomes one of float32: the TFLite converter has no kernels for others,
and float32 holds every number of theirs. (Its weights are kept in float32 in mixed precision.)
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgebuild import limits
from edgebuild.errors import ModelError

TRUST = "if you trust the source of the model, add --trust-model (it runs that code)"
_CODE_LAYERS = {"Lambda"}
_CODE_CLASSES = {"__lambda__", "function"}
_KERAS2_ONLY = {
    "TFOpLambda",
    "SlicingOpLambda",
    "ClassMethod",
    "InstanceMethod",
    "InstanceProperty",
}
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "groups": (1,),
    "time_major": (False,),
    "unit_forget_bias": (True, False),
    "implementation": (0, 1, 2),
    "renorm": (False,),
    "renorm_clipping": (None,),
    "renorm_momentum": (0.99,),
    "fused": (None, True, False),
    "virtual_batch_size": (None,),
    "adjustment": (None,),
    "ragged": (False,),
    "sparse": (False,),
    "stateful": (False,),
    "expects_training_arg": (True, False),
    "must_restore_from_config": (True, False),
    "experimental_autocast": (True, False),
}
"""Settings of Keras 2 with the values at which they change nothing at inference."""

_SETTINGS_OF_TRAINING = ("_initializer", "_regularizer", "_constraint")
_BASE = {"name", "trainable", "dtype", "batch_input_shape", "batch_shape", "input_shape"}
_ACTIVATIONS = {"softmax_v2": "softmax", "swish": "silu", "hard_swish": "hard_silu"}
_MAX_DEPTH = 64

_BATCHES = {"batch_shape", "batch_input_shape"}
_TABLES = {"num_oov_indices", "num_bins", "max_tokens", "vocabulary_size", "num_tokens"}
"""Settings that say how many entries a table has."""

_OTHER_FLOATS = {"float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"}
_MODELS = {"Functional", "Sequential", "Model"}
_POLICIES = {"DTypePolicy", "FloatDTypePolicy", "Policy", "PolicyV1"}
_DTYPES = {"dtype", "default_policy"}
"""Settings that name a number format or a policy."""


def refused(path: Path, what: str) -> ModelError:
    """Return the error for a model that carries code; ``what`` ends with the code."""
    return ModelError(f"{path}: {what}, which edgebuild does not run by default", hint=TRUST)


def refuse_code(path: Path, config: Mapping[str, Any], *, trust: bool) -> None:
    """Raise ModelError for layers that carry code, unless they are trusted, and for those that
    only Keras 2 can make."""
    for entry in _objects(config):
        kind = entry.get("class_name")
        if kind in _KERAS2_ONLY:
            raise ModelError(
                f"{path}: layer '{entry.get('name', '?')}' is a {kind}, which Keras 3 cannot load",
                hint="export the model as a SavedModel with the Keras that made it, and pass that",
            )
        settings = entry.get("config")
        name = settings.get("name", "?") if isinstance(settings, dict) else "?"
        if not trust and kind in _CODE_LAYERS:
            raise refused(path, f"the {kind} layer '{str(name)[:100]}' contains Python code")
        if not trust and kind in _CODE_CLASSES:
            raise refused(path, f"the model contains a Python {str(kind).strip('_')}")
        if isinstance(settings, dict) and "mode" in settings and str(kind).endswith("DTypePolicy"):
            raise ModelError(
                f"{path}: quantized by Keras already ({settings['mode']}), in a form of its own",
                hint="pass the float model, as it was before model.quantize(...)",
            )


def _objects(value: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield every JSON object below ``value`` that describes a Python object."""
    if depth > _MAX_DEPTH:
        raise ModelError(f"the model's configuration is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, dict):
        if "class_name" in value:
            yield value
        for child in value.values():
            yield from _objects(child, depth + 1)
    elif isinstance(value, list):
        for child in value:
            yield from _objects(child, depth + 1)


def refuse_counts(path: Path, config: Mapping[str, Any]) -> None:
    """Raise ModelError for numbers that have Keras allocate beside weights and outputs, which are
    bounded by themselves: tables of tokens, and states of a recurrent layer for each of a batch."""
    for entry in _objects(config):
        settings = entry.get("config")
        if not isinstance(settings, dict):
            continue
        for key, value in settings.items():
            if key in _BATCHES and isinstance(value, list):
                value, most = next(iter(value), None), limits.BATCH
            elif key in _TABLES:
                most = limits.CLASSES
            else:
                continue
            if isinstance(value, (int, float)) and value > most:
                name = str(settings.get("name", "?"))[:100]
                raise ModelError(
                    f"{path}: layer '{name}' has {key} {value:,}, at most {most:,} are taken",
                    hint="save the model with another batch"
                    if key in _BATCHES
                    else "turn text and tokens into numbers before the model",
                )


def own_classes(config: Mapping[str, Any]) -> list[str]:
    """Return in words the layers and other objects of a configuration whose classes are not Keras's
    own, each class once."""
    import keras

    found: dict[str, str] = {}
    for entry in _objects(config):
        kind, module = str(entry["class_name"]), entry.get("module")
        settings = entry.get("config")
        name = settings.get("name") if isinstance(settings, dict) else None
        if "module" in entry:
            own = module is None or not str(module).startswith(("keras", "builtins"))
            own = own and bool(entry.get("registered_name"))
        else:  # as Keras 2 wrote it
            own = name is not None and not hasattr(keras.layers, kind) and kind not in _MODELS
        if own:
            words = f"uses the custom class {kind[:60]}"
            words = f"layer '{str(name)[:60]}' {words}" if name else f"the model {words}"
            found.setdefault(kind, words)
    return list(found.values())


def other_floats(config: Mapping[str, Any]) -> list[str]:
    """Return the policies of a model that was trained in other numbers than float32, sorted."""
    found = set[str]()
    for entry in _objects(config):
        settings = entry.get("config")
        if not isinstance(settings, dict) or entry["class_name"] == "__keras_tensor__":
            continue
        names = [settings.get(key) for key in _DTYPES]
        if entry.get("class_name") in _POLICIES:
            names.append(settings.get("name"))
        found |= {str(name) for name in names if _is_other(name)}
    return sorted(found)


def _is_other(name: Any) -> bool:
    return isinstance(name, str) and name in _OTHER_FLOATS


def in_float32(value: Any) -> Any:
    """Return a model configuration in which every layer computes in float32."""
    if isinstance(value, list):
        return [in_float32(child) for child in value]
    if not isinstance(value, dict):
        return value
    result = {key: in_float32(child) for key, child in value.items()}
    policies = result.get("policy_map")
    for settings, keys in ((result, _DTYPES), (policies, list(policies or ()))):
        for key in keys:
            if isinstance(settings, dict) and _is_other(settings.get(key)):
                settings[key] = "float32"
    policy = result.get("config")
    if result.get("class_name") in _POLICIES and isinstance(policy, dict):
        name = policy.get("name")
        result["config"] = {**policy, "name": "float32" if _is_other(name) else name}
    return result


def upgraded(value: Any) -> Any:
    """Return a model configuration without the settings that Keras 3 does not take any more."""
    if isinstance(value, list):
        return [upgraded(child) for child in value]
    if not isinstance(value, dict):
        return value
    result = {key: upgraded(child) for key, child in value.items()}
    kind, settings = result.get("class_name"), result.get("config")
    if isinstance(kind, str) and isinstance(settings, dict):
        result["config"] = _upgrade_settings(kind, settings)
    return result


def _upgrade_settings(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    accepted = _accepted(kind)
    if accepted is None:
        return settings
    result = {}
    for key, value in settings.items():
        if key not in accepted and key not in _BASE and _has_no_effect(key, value):
            continue
        if key.endswith("activation") and isinstance(value, str):
            value = _ACTIVATIONS.get(value, value)
        if key == "dtype":
            value = _dtype(value)
        result[key] = value
    return result


def _has_no_effect(key: str, value: Any) -> bool:
    if value is None or key.endswith(_SETTINGS_OF_TRAINING):
        return True
    return any(
        value == neutral and type(value) is type(neutral) for neutral in _NEUTRAL.get(key, ())
    )


def _dtype(value: Any) -> Any:
    """Return a Keras 2 dtype policy as its name."""
    if isinstance(value, dict) and value.get("class_name") in ("Policy", "PolicyV1"):
        return value.get("config", {}).get("name", "float32")
    return value


def _accepted(kind: str) -> set[str] | None:
    """Return the names that a Keras layer's constructor takes; None when it is no layer."""
    import keras

    cls = getattr(keras.layers, kind, None)
    if not inspect.isclass(cls) or not issubclass(cls, keras.layers.Layer):
        return None
    names: set[str] = set()
    for base in cls.__mro__:
        # The base constructors are called with names that the layer chooses, so only its own and
        # those that it passes on in **kwargs count.
        parameters = inspect.signature(base).parameters.values()
        names |= {p.name for p in parameters}
        if not any(p.kind == p.VAR_KEYWORD for p in parameters) or base is keras.layers.Layer:
            break
    return names
