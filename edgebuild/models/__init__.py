"""Loading models and data sets, calibration and conversion to int8."""
