"""What a variant costs: bytes, memory, tokens per second."""
