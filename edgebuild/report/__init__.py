"""The report of a build, and its forms for people and for tools."""
