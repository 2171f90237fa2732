"""A receiver as its author would write it with Flask: it checks the signature over the raw body."""

import hashlib
import hmac
import os

from flask import Flask, Response, request
from werkzeug.serving import make_server

app = Flask(__name__)


@app.post("/webhook")
def webhook() -> Response:
    body = request.get_data()
    expected = hmac.new(os.environ["WEBHOOK_SECRET"].encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(request.headers.get("X-SignalArk-Signature", ""), expected):
        return Response("wrong signature", 401)
    return Response(f'{{"taken": {len(body)}}}', 202, {"X-Taken-By": "flask"})


if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, app)
    print(server.port, flush=True)
    server.serve_forever()
