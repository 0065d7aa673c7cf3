"""Corpora, folds, training and honest evaluation, in full TensorFlow."""
