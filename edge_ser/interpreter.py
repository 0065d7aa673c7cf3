"""Runs a TFLite model, with whichever runtime is installed."""

from __future__ import annotations

import ctypes
import importlib
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ser.errors import BundleError, ConfigError, InterpreterError
from edge_ser.spec import is_integer

Float32 = npt.NDArray[np.float32]

# In the order of preference; each with the module and the distribution that holds it.
RUNTIMES = {
    "ai-edge-litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
    "tensorflow": ("tensorflow.lite.python.interpreter", "tensorflow"),
}


def installed_runtimes() -> dict[str, str]:
    """Runtimes that are installed, with their versions."""
    import importlib.metadata  # costs more than the rest of this module

    found = {}
    for name, (_, distribution) in RUNTIMES.items():
        try:
            found[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _runtime_module(name: str) -> Any:
    module, distribution = RUNTIMES[name]
    if name == "tflite-runtime" and int(np.__version__.split(".")[0]) >= 2:
        from importlib.util import find_spec

        if find_spec("tflite_runtime") is not None:
            # It was built against numpy 1 and would fail with an obscure SystemError.
            raise InterpreterError(
                f"tflite-runtime needs numpy < 2, found {np.__version__}; "
                "install 'numpy<2' or ai-edge-litert"
            )
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InterpreterError(
            f"the runtime {name} cannot be imported ({error}); "
            f"install it with: pip install {distribution}"
        ) from error


def choose_runtime(name: str | None = None) -> tuple[str, Any]:
    """A runtime's name and module; None takes the first that works.

    TensorFlow is taken only when asked for by name: it costs seconds and 450 MiB.

    Raises:
        ConfigError: an unknown name.
        InterpreterError: not installed, or unusable here (the message says why).
    """
    if name is not None:
        if name not in RUNTIMES:
            raise ConfigError(
                f"unknown interpreter {name!r}; valid: {', '.join(RUNTIMES)}"
            )
        return name, _runtime_module(name)
    reasons = []
    for candidate in RUNTIMES:
        if candidate == "tensorflow":
            continue
        try:
            return candidate, _runtime_module(candidate)
        except InterpreterError as error:
            reasons.append(str(error))
    raise InterpreterError("no TFLite runtime works here: " + "; ".join(reasons))


def quantize(
    values: Float32, scale: float, zero_point: int, dtype: type[np.integer[Any]]
) -> npt.NDArray[np.integer[Any]]:
    """Affine quantization: rounded, then clipped, then cast.

    ``q = clip(round(x / scale) + zero_point)``; Jacob et al. 2018, arXiv:1712.05877.
    Halves round to even. Same shape as given.
    """
    limits = np.iinfo(dtype)
    levels = np.rint(values * np.float32(1 / scale))
    levels += np.float32(zero_point)
    np.clip(levels, limits.min, limits.max, out=levels)
    quantized: npt.NDArray[np.integer[Any]] = levels.astype(dtype)
    return quantized


# What `--delegate` calls by name, and the library that the dynamic linker looks for.
DELEGATES = {"edgetpu": "libedgetpu.so.1"}


def _load_delegate(module: Any, name: str | os.PathLike[str]) -> Any:
    """A delegate of the runtime, from a name in `DELEGATES` or a library's path."""
    name = os.fspath(name)
    library = DELEGATES.get(name, name)
    if name not in DELEGATES and ".so" not in name:
        raise ConfigError(
            f"unknown delegate {name!r}; valid: {', '.join(DELEGATES)}, or the path of "
            "a delegate's library (.so)"
        )
    try:
        # The runtimes' own loader leaves a broken object behind where this fails.
        entry = getattr(ctypes.CDLL(library), "tflite_plugin_create_delegate", None)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise InterpreterError(
            f"delegate {name}: the library {library} cannot be loaded ({error}); "
            "install it, or leave the delegate out to run on the CPU"
        ) from error
    if entry is None:
        raise InterpreterError(
            f"delegate {name}: {library} is no TFLite delegate; give one, or leave the "
            "delegate out"
        )
    try:
        return module.load_delegate(library)
    except (ValueError, RuntimeError) as error:
        detail = " ".join(str(error).split())
        raise InterpreterError(
            f"delegate {name}: {library} finds no device it can use ({detail}); "
            "plug it in and check its permissions, or leave the delegate out"
        ) from error


class Interpreter:
    """A loaded model: one float window in, one vector of logits out.

    Not safe for use by several threads at once: give each thread its own.

    Args:
        model: the TFLite flatbuffer.
        runtime: a name out of `RUNTIMES`, or None for the first that works.
        threads: of the runtime, 1 to 64.
        delegate: a name in `DELEGATES`, or the path of a TFLite delegate's library.
        portable: take TFLite's reference kernels. Identical int8 inputs then give
            identical int8 outputs on every processor, and but for a rare difference
            of one step in every runtime; optimised
            kernels each round in their own way (by a few steps of 256 in the output)
            and are 20 to 30 times faster.

    Raises:
        BundleError: the runtime refuses the model, or it has not one input and output.
        ConfigError: an unknown runtime or delegate, or threads out of range.
        InterpreterError: see `choose_runtime`; or the delegate's library is missing, or
            finds no device.
    """

    def __init__(
        self,
        model: bytes,
        *,
        runtime: str | None = None,
        threads: int = 1,
        delegate: str | os.PathLike[str] | None = None,
        portable: bool = False,
    ) -> None:
        if not is_integer(threads) or not 1 <= threads <= 64:
            raise ConfigError(f"threads is {threads!r}; valid: an int, 1 to 64")
        self.runtime, module = choose_runtime(runtime)
        self.threads, self.delegate, self.portable = threads, delegate, portable
        delegates = []
        if delegate is not None:
            delegates.append(_load_delegate(module, delegate))
        # The runtimes read the model in place: it must outlive the interpreter.
        self._model = model
        try:
            self._interpreter = module.Interpreter(
                model_content=model,
                num_threads=threads,
                experimental_delegates=delegates or None,
                experimental_op_resolver_type=(
                    module.OpResolverType.BUILTIN_REF
                    if portable
                    else module.OpResolverType.AUTO
                ),
            )
            self._interpreter.allocate_tensors()
            inputs = self._interpreter.get_input_details()
            outputs = self._interpreter.get_output_details()
        except (RuntimeError, ValueError) as error:
            if "edgetpu-custom-op" in str(error):
                raise BundleError(
                    "the model is compiled for the Edge TPU: choose the delegate "
                    "edgetpu, or a model that is not"
                ) from error
            lines = " ".join(str(error).split())
            raise BundleError(f"{self.runtime} refuses the model: {lines}") from error
        if len(inputs) != 1 or len(outputs) != 1:
            raise BundleError(
                f"the model has {len(inputs)} inputs and {len(outputs)} outputs; "
                "valid: one of each"
            )
        self._input, self._output = inputs[0], outputs[0]
        for role, detail in (("input", self._input), ("output", self._output)):
            if detail["dtype"] not in (np.float32, np.int8, np.uint8):
                raise BundleError(
                    f"the model's {role} is {np.dtype(detail['dtype'])}; "
                    "valid: float32, int8 or uint8"
                )
            quantized = detail["dtype"] != np.float32
            if quantized and not detail["quantization"][0] > 0:
                raise BundleError(f"the model's {role} has no quantization scale")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the model, with the batch axis of 1."""
        return tuple(int(n) for n in self._input["shape"])

    @property
    def n_outputs(self) -> int:
        """Number of logits."""
        return int(np.prod(self._output["shape"]))

    def quantized_input(self, window: Float32) -> npt.NDArray[Any]:
        """The window as the model takes it, shape (1, ...)."""
        dtype = self._input["dtype"]
        batch = window.reshape(self.input_shape)
        if dtype == np.float32:
            return batch
        scale, zero_point = self._input["quantization"]
        return quantize(batch, scale, zero_point, dtype)

    def invoke(self, batch: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The raw output for an input of the model's own dtype."""
        interpreter = self._interpreter
        # A fused LSTM keeps its state from one call to the next.
        interpreter.reset_all_variables()
        interpreter.set_tensor(self._input["index"], batch)
        interpreter.invoke()
        output: npt.NDArray[Any] = interpreter.get_tensor(self._output["index"])
        return output

    def logits(self, window: Float32) -> Float32:
        """Logits of one window.

        Args:
            window: shape as `input_shape` without the batch axis, float32.

        Returns:
            Shape (n_outputs,), float32.
        """
        output = self.invoke(self.quantized_input(window)).reshape(-1)
        if self._output["dtype"] == np.float32:
            return np.asarray(output, np.float32)
        scale, zero_point = self._output["quantization"]
        return (output.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
