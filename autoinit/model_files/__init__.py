"""Model files: read as data, checked, rebuilt, and saved again with new kernels."""

from autoinit.model_files.budgets import Budgets
from autoinit.model_files.opening import ModelFile, open_model_file
from autoinit.model_files.write.rereading import read_again
from autoinit.model_files.write.saving import Download, save_model, save_reinitialized, save_variant

__all__ = [
    "Budgets",
    "Download",
    "ModelFile",
    "open_model_file",
    "read_again",
    "save_model",
    "save_reinitialized",
    "save_variant",
]
