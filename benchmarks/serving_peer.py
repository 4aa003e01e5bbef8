"""What the service is measured beside: one uvicorn process with FastAPI, Pillow and ONNX Runtime in fp32.

It decodes, resizes and computes in a thread of its pool, and answers with nine probabilities; no calibration, no look
at the image's quality, no distance to training images.
"""

from __future__ import annotations

import io
import sys

import numpy as np
import onnxruntime
import uvicorn
from anyio import to_thread
from fastapi import FastAPI, Request
from PIL import Image

_SIDE = 224


def build_app(model: str) -> FastAPI:
    """Return the application.

    Args:
        model: Path of a network that ``jobs.export`` has written.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    app = FastAPI()

    def assess(encoded: bytes) -> list[float]:
        image = Image.open(io.BytesIO(encoded)).convert("RGB").resize((_SIDE, _SIDE))
        logits = session.run(["logits"], {"pixels": np.asarray(image)[None]})[0][0]
        shares = np.exp(logits - logits.max())
        return [float(share) for share in shares / shares.sum()]

    @app.get("/readyz")
    async def check_readiness() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/v1/predict")
    async def predict(request: Request) -> dict[str, list[float]]:
        return {"probabilities": await to_thread.run_sync(assess, await request.body())}

    return app


if __name__ == "__main__":
    uvicorn.run(build_app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
