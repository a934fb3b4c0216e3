"""The HTTP server of the reference engine, and model servers for the length of a block."""
