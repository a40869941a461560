"""Run a model on a Coral board and time it. Python 3.7 or newer, standard library and one of
tflite_runtime (which pycoral brings) or ai_edge_litert; NumPy comes with either.

Usage: python3 eb_coral_runner.py --model FILE --input FILE --output FILE --count N
           [--warmup N] [--runs N] [--device usb|pci] [--no-edgetpu] [--limit SECONDS]

FILE --input holds N samples, each the raw bytes of every model input in order; --output likewise.
Each sample runs once, then sample 0 is timed. Standard output is JSON lines: first what runs, last
the times. Exit codes: 0 done, 2 usage, 3 a file, 4 the model is refused, 5 no Edge TPU,
6 no TFLite package, 7 the time limit, 8 a tensor whose size is known only after a run.
"""

import argparse
import json
import os
import platform
import signal
import sys
import time

LIBRARIES = {"Linux": "libedgetpu.so.1", "Darwin": "libedgetpu.1.dylib", "Windows": "edgetpu.dll"}
CUSTOM_OP = b"edgetpu-custom-op"
TEMPERATURE = "/sys/class/apex/apex_0/temp"


def say(**values):
    """Write one JSON line."""
    sys.stdout.write(json.dumps(values, sort_keys=True) + "\n")
    sys.stdout.flush()


def stop(code, message):
    """End with a message for people."""
    sys.stderr.write(f"error: {message}\n")
    sys.exit(code)


def arguments():
    """Return the command line's options."""
    parser = argparse.ArgumentParser()
    for name in ("model", "input", "output"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--device", default="")
    parser.add_argument("--no-edgetpu", action="store_true")
    parser.add_argument("--limit", type=int, default=600)
    return parser.parse_args()


def tflite():
    """Return (module, name, version) of the TFLite package that is installed."""
    tried = []
    for name in ("tflite_runtime", "ai_edge_litert"):
        try:
            module = __import__(name + ".interpreter", fromlist=["Interpreter"])
            package = __import__(name)
        except ImportError as error:
            tried.append(f"{name}: {error}")
            continue
        return module, name, str(getattr(package, "__version__", "unknown"))
    return stop(6, "no TFLite package: " + "; ".join(tried))


def delegate(module, device):
    """Return the Edge TPU's delegate."""
    library = LIBRARIES.get(platform.system(), "libedgetpu.so.1")
    try:
        return module.load_delegate(library, {"device": device} if device else {})
    except (ValueError, OSError, RuntimeError) as error:
        return stop(5, f"no Edge TPU ({library}): {error or 'the delegate refused'}")


def temperature():
    """Return the chip's temperature in thousandths of a degree, None where it is not told."""
    try:
        with open(TEMPERATURE) as file:  # noqa: PTH123 - as old as the board's Python
            return int(file.read())
    except (OSError, ValueError):
        return None


def read(path):
    """Return a file's bytes."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        return stop(3, f"{path}: {os.strerror(error.errno or 0)}")


def load(module, path, delegates):
    """Return an interpreter that is ready to run."""
    try:
        interpreter = module.Interpreter(model_path=path, experimental_delegates=delegates or None)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        stop(4, f"the model is refused: {' '.join(str(error).split())[-400:]}")
    return interpreter


def sizes(interpreter, details):
    """Return the bytes of each tensor."""
    try:
        return [int(interpreter.get_tensor(d["index"]).nbytes) for d in details]
    except (ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())[-400:]
        return stop(8, f"an input or output has no size before the model runs: {said}")


def feed(interpreter, inputs, data):
    """Copy one sample into the model's inputs."""
    import numpy

    at = 0
    for detail in inputs:
        shape = interpreter.get_tensor(detail["index"]).shape
        dtype = numpy.dtype(detail["dtype"])
        size = int(numpy.prod(shape)) * dtype.itemsize
        array = numpy.frombuffer(data[at : at + size], dtype).reshape(shape)
        interpreter.set_tensor(detail["index"], array)
        at += size


def run(interpreter, options, data):
    """Run every sample, write the outputs, and return the times of sample 0 in nanoseconds."""
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    step = sum(sizes(interpreter, inputs))
    if options.count < 1 or len(data) != step * options.count:
        stop(3, f"{len(data)} bytes of input are not {options.count} samples of {step}")
    results = []
    for sample in range(options.count):
        interpreter.reset_all_variables()
        feed(interpreter, inputs, data[sample * step : (sample + 1) * step])
        interpreter.invoke()
        results += [interpreter.get_tensor(d["index"]).tobytes() for d in outputs]
    try:
        with open(options.output, "wb") as file:  # noqa: PTH123
            file.write(b"".join(results))
    except OSError as error:
        stop(3, f"{options.output}: {os.strerror(error.errno or 0)}")
    feed(interpreter, inputs, data[:step])
    times = []
    for number in range(options.warmup + options.runs):
        begin = time.perf_counter_ns()
        interpreter.invoke()
        if number >= options.warmup:
            times.append(time.perf_counter_ns() - begin)
    return times


def main():
    """Do what the command line says."""
    options = arguments()
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, lambda *_: stop(7, "the time limit has passed"))
        signal.alarm(max(1, options.limit))
    compiled = CUSTOM_OP in read(options.model)
    data = read(options.input)
    module, package, version = tflite()
    delegates = [] if options.no_edgetpu else [delegate(module, options.device)]
    interpreter = load(module, options.model, delegates)
    say(
        edgebuild=1,
        runtime=package,
        version=version,
        python=platform.python_version(),
        machine=platform.machine(),
        inputs=sizes(interpreter, interpreter.get_input_details()),
        outputs=sizes(interpreter, interpreter.get_output_details()),
        # The custom operator has no other implementation: a model that runs it ran there.
        edgetpu=bool(delegates) and compiled,
        compiled=compiled,
    )
    before = temperature()
    try:
        times = run(interpreter, options, data)
    except (ValueError, RuntimeError) as error:
        stop(4, f"the model failed: {' '.join(str(error).split())[-400:]}")
    say(done=True, times_ns=times, temperature_mc=[before, temperature()])


if __name__ == "__main__":
    main()
