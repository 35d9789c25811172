from flask import Flask, request

shop = Flask(__name__)


@shop.get("/")
def index():
    return f"wsgi.py to {request.remote_addr}"
