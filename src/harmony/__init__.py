"""harmony: make T1-weighted brain MRI from several scanners comparable, with normalizing flows."""

__version__ = "0.1.0"
