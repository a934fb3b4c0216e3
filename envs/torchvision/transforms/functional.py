"""The one name that transformers looks up when it sees a torchvision."""


class InterpolationMode:
    """Never instantiated."""
