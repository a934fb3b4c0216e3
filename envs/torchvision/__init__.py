"""Stands in for torchvision, which XTuner imports for LLaVA's images only and never uses here."""

__version__ = "0.0.0"
