"""Model files: telling what a file is, rebuilding its model, and saving one."""

from autoinit.model_files.opening import ModelFile, open_model_file
from autoinit.model_files.saving import save_model_file

__all__ = ["ModelFile", "open_model_file", "save_model_file"]
