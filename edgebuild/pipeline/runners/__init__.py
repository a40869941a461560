"""Where a finished build can be measured: one module for each way to reach a device."""
