"""From a trained Keras model to proven TFLite bundles.

The modules know Keras models, arrays and bundles; only the command line knows the
training stage.
"""
