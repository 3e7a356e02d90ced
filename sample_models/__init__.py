"""Networks to try: those of the paper, and one of each kind that is met in practice.

Importing this package does not import Keras, so that any process can list the table; `build` does.

    from sample_models import MODELS, build

    model = build("all-cnn-c?activation=elu&dropout=0.25")
"""

from sample_models.catalogue import FILES_FOLDER, MODELS, Builder, build, parse

__all__ = ["FILES_FOLDER", "MODELS", "Builder", "build", "parse"]
