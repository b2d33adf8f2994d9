"""The config and the model with files: loading, saving, publishing.

``dacodec.DacConfig`` and ``dacodec.DacModel`` are the classes here: those of ``dacodec.config`` and
``dacodec.model``, which know nothing of files, and the methods of Hugging Face's classes that do. Subclasses,
because the alternatives are worse: methods put on the lower classes from here would be there or not depending
on what was imported, and unknown to type checkers; methods written there would call upwards. They add no state,
so a model of either class has the same state dict, copies and exports alike, and code inside the package may
use the lower class for both.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from dacodec import config as _config
from dacodec import model as _model
from dacodec.checkpoint.configs import CONFIG_FILE, read_config, write_config, write_preprocessor_of
from dacodec.checkpoint.descript import read_descript
from dacodec.checkpoint.hub import MODEL_FILES
from dacodec.checkpoint.identity import fingerprint_of
from dacodec.checkpoint.processor import DacFeatureExtractor, new_folder
from dacodec.checkpoint.sources import locate
from dacodec.checkpoint.weights import check_weights, fold_weight_norm, read_weights, write_weights
from dacodec.errors import CheckpointError, OutputError
