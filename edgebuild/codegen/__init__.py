"""Code generation: graph and memory plan in, texts by path out. Pure."""
