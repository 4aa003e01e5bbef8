"""melanoma_ray: from a folder of dermoscopic images to a melanoma triage service, on Ray.

A research and triage tool, not a medical device. The public names are those of ``__all__``. Each is imported when it is
first used, so that ``import melanoma_ray`` takes no time and starts nothing.

    dataset = melanoma_ray.open_dataset("prepared")
    assessment = melanoma_ray.Predictor.load("runs/first").predict_file("lesion.jpg")
    with melanoma_ray.Client("http://127.0.0.1:8000") as client:
        prediction = client.predict(encoded)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from melanoma_ray.client import AsyncClient, Client
    from melanoma_ray.dataset.prepared import open_dataset
    from melanoma_ray.inference.predictor import Assessment, Predictor

__version__ = "0.1.0"
__all__ = ["Assessment", "AsyncClient", "Client", "Predictor", "__version__", "open_dataset"]

_HOMES = {
    "Assessment": "melanoma_ray.inference.predictor",
    "AsyncClient": "melanoma_ray.client",
    "Client": "melanoma_ray.client",
    "Predictor": "melanoma_ray.inference.predictor",
    "open_dataset": "melanoma_ray.dataset.prepared",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
