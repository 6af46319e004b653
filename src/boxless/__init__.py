"""boxless: boxes and masks from image labels."""

__version__ = "0.1.0"
