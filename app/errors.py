"""Errors of the application's own; the library's are in `autoinit.errors`, which imports Keras."""

from __future__ import annotations


class WrongSettingError(ValueError):
    """A setting, or a file that was chosen, is not what it may be: its message says what is.

    Only what is raised as this, or as the library's `SettingsError`, is told as the user's to
    mend. Any other ValueError is a fault of the program.
    """
