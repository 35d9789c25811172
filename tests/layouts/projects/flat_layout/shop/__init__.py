from importlib.metadata import version

from flask import Flask, render_template


def create_app():
    app = Flask(__name__)

    @app.get("/")
    def index():
        return render_template("index.txt", version=version("shop"))

    return app
