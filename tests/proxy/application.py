"""The application of these tests; it is written into a project as shown.py."""

SHOWN = '''
import os, signal, sys, threading
from pathlib import Path
from flask import Flask, Response, request

flask = Flask(__name__)
ALL = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"]

@flask.get("/ping")
def ping():
    return "pong"

@flask.route("/seen", methods=ALL)
def seen():
    """What an application can know of a request."""
    return {"address": request.remote_addr, "scheme": request.scheme, "host": request.host, "url": request.url,
            "root": request.root_url, "headers": [[name.lower(), value] for name, value in request.headers]}

def begin():
    """Say in the gate's directory that the request is here."""
    gate = Path(request.args["gate"])
    with open(gate / "begun", "a") as file:
        file.write("x")
    return gate

@flask.route("/hold", methods=ALL)
def hold():
    """Answer when the gate is open."""
    gate = begin()
    for _ in range(3000):
        if (gate / "open").exists():
            return "held"
        threading.Event().wait(0.01)
    return "the gate stayed closed", 500

@flask.route("/wait", methods=ALL)
def wait():
    """Answer after a time."""
    begin()
    threading.Event().wait(float(request.args["seconds"]))
    return "waited"

@flask.route("/die", methods=ALL)
def die():
    """Say that the request is here, and end the worker before it is answered."""
    with open(request.args["file"], "a") as file:
        file.write(request.method + request.get_data(as_text=True) + "\\n")
    os.kill(os.getpid(), signal.SIGKILL)

@flask.route("/unread", methods=ALL)
def unread():
    """Answer without looking at the body."""
    return "no", 401

@flask.get("/own/<int:status>")
def own(status):
    """An error of the application's own, with headers that the proxy would add."""
    headers = {"X-Content-Type-Options": "mine", "Referrer-Policy": "mine", "Content-Security-Policy": "mine",
               "Cache-Control": "mine", "Retry-After": "77", "Allow": "mine", "X-Request-Id": "mine"}
    return Response("mine", status, headers, content_type=request.args.get("type", "text/plain"))

@flask.get("/log")
def log():
    flask.logger.warning("hello from %s", request.args.get("who"))
    return "logged"

@flask.get("/print")
def printed():
    print(request.args["text"], flush=True)
    return "printed"

@flask.get("/remember")
def remember():
    """What an earlier request has left in the environment, or else what this one leaves there."""
    return request.environ.setdefault("remembered", request.args["what"])

@flask.get("/big")
def big():
    return "x" * int(request.args["bytes"])

def app(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        raise RuntimeError("as asked")
    if environ["PATH_INFO"] == "/exit":
        sys.exit(3)
    return flask(environ, start_response)
'''
