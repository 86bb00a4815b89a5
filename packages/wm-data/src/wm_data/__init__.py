"""Builds audited ORPO datasets for the red/blue watermark. Trains and evaluates nothing.

>>> import wm_data
>>> wm_data.load_recipe("demo").name
'demo'
"""

from wm_data.build import build
from wm_data.dataset import Dataset, read
from wm_data.errors import WmDataError
from wm_data.recipe import Recipe, load_recipe
from wm_data.rows import Row
from wm_data.smollm2 import smollm2_135m

__version__ = "0.1.0"
__all__ = [
    "Dataset",
    "Recipe",
    "Row",
    "WmDataError",
    "build",
    "load_recipe",
    "read",
    "smollm2_135m",
]
