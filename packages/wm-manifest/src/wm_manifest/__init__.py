"""Records of datasets, runs, evaluations and releases. Holds no logic of any stage."""

from wm_manifest.dataset import (
    BandCounts,
    DatasetManifest,
    SourceRef,
    SplitCounts,
    UnmarkedCounts,
)
from wm_manifest.evaluation import Control, Decoding, EvalReport, ModelRef, Piece, Sample
from wm_manifest.record import SCHEMA_VERSION, Estimate, FileRef, Record, TemplateRef
from wm_manifest.release import ReleaseManifest
from wm_manifest.run import (
    Attempt,
    BestCheckpoint,
    Checkpoint,
    DatasetUse,
    Evaluation,
    GitState,
    Hardware,
    HubRef,
    RunManifest,
    Stack,
    WandbRef,
)
from wm_manifest.store import ManifestError, load, save

__all__ = [
    "SCHEMA_VERSION",
    "Attempt",
    "BandCounts",
    "BestCheckpoint",
    "Checkpoint",
    "Control",
    "DatasetManifest",
    "DatasetUse",
    "Decoding",
    "Estimate",
    "EvalReport",
    "Evaluation",
    "FileRef",
    "GitState",
    "Hardware",
    "HubRef",
    "ManifestError",
    "ModelRef",
    "Piece",
    "Record",
    "ReleaseManifest",
    "RunManifest",
    "Sample",
    "SourceRef",
    "SplitCounts",
    "Stack",
    "TemplateRef",
    "UnmarkedCounts",
    "WandbRef",
    "load",
    "save",
]
