"""Trains language models to write and to read the red/blue watermark with ORPO.

Importing it is cheap: torch and the libraries around it load when a run starts.
"""

from wm_train.config import TrainConfig
from wm_train.errors import ConfigError, DataError, WmTrainError

__all__ = ["ConfigError", "DataError", "TrainConfig", "WmTrainError"]
