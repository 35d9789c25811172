from flask import Flask

from . import pages


def create_app():
    app = Flask(__name__)
    app.register_blueprint(pages.blueprint)
    return app
