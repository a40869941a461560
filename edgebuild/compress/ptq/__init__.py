"""Post-training quantization of a float ``.tflite``: calibration, weights, formats."""
