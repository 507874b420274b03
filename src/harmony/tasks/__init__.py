"""LightningModules: what is trained, with which loss."""

from harmony.tasks.callbacks import FlowPictures, ProgressLines, StopOnSignal
from harmony.tasks.flow import FlowTask
from harmony.tasks.guided import Guidance
from harmony.tasks.harmonizer import HarmonizerTask
from harmony.tasks.judges import AgeTask, SegmenterTask

__all__ = [
    "AgeTask",
    "FlowPictures",
    "FlowTask",
    "Guidance",
    "HarmonizerTask",
    "ProgressLines",
    "SegmenterTask",
    "StopOnSignal",
]
