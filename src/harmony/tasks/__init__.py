"""LightningModules: what is trained, with which loss."""

from harmony.tasks.callbacks import FlowPictures, ProgressLines, StopOnSignal
from harmony.tasks.flow import FlowTask

__all__ = ["FlowPictures", "FlowTask", "ProgressLines", "StopOnSignal"]
