"""A phone over adb: its connection, what it is, how warm it is, and a folder of its own."""
