"""The proxy that one would write in an afternoon: it knows the place and the key of each model and
passes on what comes back. It asks for no key, translates nothing, and counts nothing.

    python bench/flask_proxy.py PORT MODELS.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import requests
from flask import Flask, Response, request

app = Flask(__name__)
MODELS = json.loads(Path(sys.argv[2]).read_text())  # name -> base_url, model, key


@app.post("/v1/messages")
def messages() -> Response:
    """Pass one message on."""
    body = request.get_json()
    model = MODELS[body["model"]]
    answer = requests.post(
        f"{model['base_url']}/v1/messages",
        json={**body, "model": model["model"]},
        headers={
            "x-api-key": model["key"],
            "anthropic-version": request.headers["anthropic-version"],
        },
        stream=True,
        timeout=600,
    )
    return Response(
        answer.iter_content(chunk_size=None),
        status=answer.status_code,
        content_type=answer.headers["content-type"],
    )


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]), threaded=True)
