"""The command `harmony`: what people type, put into words for the entry points. Help imports nothing heavy."""

from harmony.cli.main import main

__all__ = ["main"]
