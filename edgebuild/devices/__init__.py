"""Where a build runs: bytes in, bytes and figures out."""
