from importlib.metadata import version

from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def index():
    versions = " ".join(f"{name}={version(name)}" for name in ("flask", "werkzeug", "gunicorn"))
    return f"{versions} to {request.remote_addr}"
