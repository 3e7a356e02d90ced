"""Where the published package has the base class of estimators written by users."""
