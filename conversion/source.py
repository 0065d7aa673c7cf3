"""Models as people save them: ``.keras``, ``.h5`` and SavedModel, of Keras 2 and 3."""

from __future__ import annotations

import functools
import json
import math
import pathlib
import tempfile
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from conversion.errors import ConversionError

Float32 = npt.NDArray[np.float32]


class Source:
    """A saved model that is to be converted; loading it takes TensorFlow.

    Args:
        path: a ``.keras`` or ``.h5`` file, or the folder of a SavedModel.

    Raises:
        ConversionError: missing, damaged, with a layer that needs code of its own, or
            not from one (frames, n_features) to one vector of logits.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.keras: Any = None
        """The Keras 2 model, which alone can be fine-tuned; None for the others."""
        self._trackable, self._function = self._load()
        shape = self._function.structured_input_signature[0][0].shape
        self.input_shape: tuple[int, ...] = tuple(shape[1:])
        outputs = self._function.outputs
        if len(outputs) != 1 or len(outputs[0].shape) != 2 or len(shape) != 3:
            raise ConversionError(
                f"{path}: takes {shape} and gives "
                f"{', '.join(str(output.shape) for output in outputs)}; valid: one "
                "(batch, frames, features) to one (batch, labels)"
            )
        self.n_outputs = int(outputs[0].shape[-1])

    def _load(self) -> tuple[Any, Any]:
        import tensorflow as tf

        path = self.path
        if path.is_dir():
            if not (path / "saved_model.pb").exists():
                raise ConversionError(f"{path}: no SavedModel (no saved_model.pb)")
            return self._from_saved_model(path)
        if not path.exists():
            raise ConversionError(f"{path}: there is no such model")
        if path.suffix not in (".keras", ".h5", ".hdf5"):
            raise ConversionError(
                f"{path}: unknown kind of model; valid: .keras, .h5, or a SavedModel's "
                "folder"
            )
        if _is_keras_3(path):
            return self._from_keras_3(path)
        self.keras = as_logits(load_keras(path))
        shape = self._one_input(self.keras).shape
        _let_dense_layers_convolve(self.keras)
        self.keras._name = "m"  # the file says it before the name of every tensor
        # A dynamic batch would add SHAPE and PACK, and break the fusing of LSTM.
        signature = tf.TensorSpec([1, *shape[1:]], tf.float32)
        function = tf.function(self.keras).get_concrete_function(signature)
        return self.keras, function

    def _from_keras_3(self, path: pathlib.Path) -> tuple[Any, Any]:
        import keras

        try:
            model = keras.models.load_model(path, compile=False)
        except Exception as error:  # what Keras raises is not documented
            raise _unreadable(path, error) from error
        last = model.layers[-1]
        if getattr(last, "activation", None) is keras.activations.softmax:
            last.activation = keras.activations.linear
        elif isinstance(last, keras.layers.Softmax):
            model = keras.Model(model.inputs, last.input)
        first = self._one_input(model)
        # Of a dynamic batch, no recurrent layer could be converted.
        window = keras.InputSpec(shape=(1, *first.shape[1:]), dtype=first.dtype)
        # Converting a Keras 3 model as it is writes files that answer NaN.
        with tempfile.TemporaryDirectory(prefix="edge-ser-export-") as folder:
            model.export(folder, verbose=False, input_signature=[window])
            return self._from_saved_model(pathlib.Path(folder))

    def _one_input(self, model: Any) -> Any:
        inputs = list(model.inputs or ())
        if len(inputs) != 1:
            raise ConversionError(f"{self.path}: {len(inputs)} inputs; valid: one")
        return inputs[0]

    def _from_saved_model(self, folder: pathlib.Path) -> tuple[Any, Any]:
        import tensorflow as tf

        try:
            loaded = tf.saved_model.load(str(folder))
        except Exception as error:
            raise _unreadable(self.path, error) from error
        serving = loaded.signatures.get("serving_default")
        if serving is None or len(serving.structured_input_signature[1]) != 1:
            raise ConversionError(
                f"{self.path}: no signature serving_default with one input; save it by "
                "model.export(folder)"
            )
        ((name, spec),) = serving.structured_input_signature[1].items()

        @tf.function
        def one(window: Any) -> Any:
            return list(serving(**{name: window}).values())

        fixed = tf.TensorSpec([1, *spec.shape[1:]], tf.float32)
        return loaded, one.get_concrete_function(fixed)

    @property
    def has_loop(self) -> bool:
        """Whether a part of it runs step by step, as recurrent layers do."""
        graph = self._function.graph.as_graph_def()
        functions = (node for each in graph.library.function for node in each.node_def)
        return any("While" in node.op for node in (*graph.node, *functions))

    def converter(self) -> Any:
        """A TFLite converter of the model with a batch of 1."""
        import tensorflow as tf

        return tf.lite.TFLiteConverter.from_concrete_functions(
            [self._function], self._trackable
        )

    def logits(self, windows: Float32) -> Float32:
        """What the model itself answers, shape (windows, labels).

        Raises:
            ConversionError: no finite numbers; or probabilities, since the device takes
                the softmax itself.
        """
        if self.keras is not None:
            found = self.keras.predict(windows, batch_size=64, verbose=0)
        else:
            import tensorflow as tf

            answers = [self._function(tf.constant(window[None])) for window in windows]
            found = np.concatenate([np.asarray(tf.nest.flatten(a)[0]) for a in answers])
        if not np.isfinite(found).all():
            raise ConversionError(
                f"{self.path} answers NaN or infinity; its training went astray"
            )
        if len(found) > 1 and (found >= 0).all() and np.allclose(found.sum(1), 1):
            raise ConversionError(
                f"{self.path} gives probabilities; save it without its softmax"
            )
        return np.asarray(found, np.float32)


def load_keras(path: pathlib.Path) -> Any:
    """A Keras 2 model that computes in float32, quantization-aware ones too.

    Raises:
        ConversionError: missing or damaged.
    """
    import tensorflow_model_optimization as tfmot
    import tf_keras

    from conversion.quantize import OutputQuantization
    from conversion.views import LAYERS

    try:
        with tfmot.quantization.keras.quantize_scope(
            {"OutputQuantization": OutputQuantization, **LAYERS}
        ):
            model = tf_keras.models.load_model(path, compile=False)
    except Exception as error:  # what Keras raises is not documented
        raise _unreadable(path, error) from error
    return as_float32(model)


def as_float32(model: Any) -> Any:
    """A model that was trained in mixed precision, computing in float32 throughout."""
    import tf_keras

    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model

    def plain(layer: Any) -> Any:
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    copy = tf_keras.models.clone_model(model, clone_function=plain)
    copy.set_weights(model.get_weights())
    return copy


def _let_dense_layers_convolve(model: Any) -> None:
    """Let dense layers compute as convolutions with kernels of 1, in place.

    The same numbers; but int8 convolutions are rounded alike by every interpreter's
    reference kernels, which fully connected layers are not.
    """
    import tensorflow as tf
    import tf_keras

    def convolve(layer: Any, inputs: Any) -> Any:
        inner = inputs.shape[1:-1]
        image = tf.reshape(inputs, (-1, math.prod(inner), 1, inputs.shape[-1]))
        found = tf.nn.conv2d(image, layer.kernel[None, None], 1, "VALID")
        if layer.use_bias:
            found = tf.nn.bias_add(found, layer.bias)
        found = layer.activation(found) if layer.activation else found
        return tf.reshape(found, (-1, *inner, layer.units))

    for layer in model.layers:
        if type(layer) is tf_keras.layers.Dense and None not in layer.input_shape[1:]:
            layer.call = functools.partial(convolve, layer)


def as_logits(model: Any) -> Any:
    """The model without a softmax at its end: the device takes it itself."""
    import tf_keras

    last = model.layers[-1]
    if isinstance(last, tf_keras.layers.Softmax):
        return tf_keras.Model(model.inputs, last.input)
    activation = getattr(last, "activation", None)
    if activation is not tf_keras.activations.softmax:
        return model

    def linear(layer: Any) -> Any:
        if layer.name != last.name:
            return type(layer).from_config(layer.get_config())
        return type(layer).from_config({**layer.get_config(), "activation": "linear"})

    if isinstance(last, tf_keras.layers.Activation):
        return tf_keras.Model(model.inputs, last.input)
    copy = tf_keras.models.clone_model(model, clone_function=linear)
    copy.set_weights(model.get_weights())
    return copy


def _is_keras_3(path: pathlib.Path) -> bool:
    version = ""
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                version = json.loads(archive.read("metadata.json"))["keras_version"]
        else:
            import h5py

            with h5py.File(path) as file:
                version = str(file.attrs.get("keras_version", ""))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error
    return version.startswith("3.")


def _unreadable(path: pathlib.Path, error: Exception) -> ConversionError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # Keras says this of a layer whose class it does not know, in many words.
    unknown = any(word in str(error) for word in ("ayer", "Could not locate class"))
    hint = (
        "; a layer of your own converts from a SavedModel: model.export(folder)"
        if unknown
        else ""
    )
    return ConversionError(f"{path}: no model can be loaded: {lines[0][:200]}{hint}")
