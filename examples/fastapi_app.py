"""An exported file as a web service: FILE=my_photos.onnx uvicorn --app-dir examples fastapi_app:app.

`curl --data-binary @IMAGE localhost:8000/explain` gives the probabilities of the classes and the map of the likeliest.
"""

import asyncio
import io
import os

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from onnx_client import Classifier
from starlette.requests import ClientDisconnect

LARGEST = 10_000_000  # bytes of an image file
# Requests that are answered at once: each may decode 25 million pixels.
AT_ONCE = 4
free = asyncio.Semaphore(AT_ONCE)
classifier = Classifier(os.environ["FILE"])
app = FastAPI()


@app.post("/explain")
async def explain(request: Request):
    """The body is an image file, which is read no further than may be."""
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                raise HTTPException(413, f"Expected an image file of at most {LARGEST:,} bytes.")
    except ClientDisconnect as error:
        raise HTTPException(400, "Expected a whole file.") from error
    try:
        async with free:
            probabilities, contribution_map = await run_in_threadpool(classifier, io.BytesIO(body))
    except ValueError as error:
        raise HTTPException(415, str(error)) from error
    return {"probabilities": probabilities, "contribution_map": contribution_map.tolist()}
