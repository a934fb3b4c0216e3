"""Empty: see the package above."""
