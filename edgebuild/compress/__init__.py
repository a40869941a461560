"""Compression passes: Keras models in, smaller Keras models out. TensorFlow inside functions."""
