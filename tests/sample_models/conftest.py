import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future

import keras
import pytest

from sample_models import build


@pytest.fixture(scope="session")
def model_of() -> Callable[[str], keras.Model]:
    """Builds each specification once, where there is room for Keras's recursion on depth."""
    models: dict[str, keras.Model] = {}

    def model_of(spec: str) -> keras.Model:
        if spec not in models:
            models[spec] = _build_in_deep_thread(spec)
        return models[spec]

    return model_of


def _build_in_deep_thread(spec: str) -> keras.Model:
    result: Future[keras.Model] = Future()

    def run() -> None:
        try:
            result.set_result(build(spec))
        except BaseException as error:
            result.set_exception(error)

    limit, size = sys.getrecursionlimit(), threading.stack_size(512 * 2**20)
    sys.setrecursionlimit(10**6)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        sys.setrecursionlimit(limit)
        threading.stack_size(size)
    return result.result()
