"""Coral boards: compiled models read, the compiler run, and the board's side of a benchmark."""
