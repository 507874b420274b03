"""LightningModules: what is trained, with which loss."""

from harmony.tasks.callbacks import (
    CurveFile,
    FlowPictures,
    LastCheckpoint,
    ProgressLines,
    StopOnSignal,
    WholeCheckpoints,
)
from harmony.tasks.cyclegan import CycleGanTask
from harmony.tasks.flow import FlowTask
from harmony.tasks.guided import Guidance
from harmony.tasks.harmonizer import HarmonizerTask
from harmony.tasks.judges import AgeTask, SegmenterTask
from harmony.tasks.paired import PairedTask
from harmony.tasks.tissue import TissueTask

__all__ = [
    "AgeTask",
    "CurveFile",
    "CycleGanTask",
    "FlowPictures",
    "FlowTask",
    "Guidance",
    "HarmonizerTask",
    "LastCheckpoint",
    "PairedTask",
    "ProgressLines",
    "SegmenterTask",
    "StopOnSignal",
    "TissueTask",
    "WholeCheckpoints",
]
