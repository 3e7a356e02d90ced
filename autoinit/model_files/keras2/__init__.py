"""Keras 2 models: rebuilt by tf_keras, then translated into equal ones of Keras 3.

Nothing is imported here: `vocabulary`, which is data, needs no TensorFlow.
"""
