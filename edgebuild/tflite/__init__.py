"""The ``.tflite`` boundary: reading, writing, and TFLite Micro as the oracle."""
