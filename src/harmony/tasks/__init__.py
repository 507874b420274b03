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
from harmony.tasks.ranked import RankedGuidance
from harmony.tasks.tissue import TissueTask
from harmony.tasks.walk import AdaptationWalk

__all__ = [
    "AdaptationWalk",
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
    "RankedGuidance",
    "SegmenterTask",
    "StopOnSignal",
    "TissueTask",
    "WholeCheckpoints",
]
