"""Models of all kinds, valid and not, on which ``check`` and ``build`` have to say the same.

``files.py`` makes ``.tflite`` files without TensorFlow, ``keras_models.py`` Keras models;
``verdicts.py`` runs the commands. ``python -m tests.corpus.verdicts FILE`` records what ``build``
says of each.
"""
