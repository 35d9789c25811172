from flask import Blueprint, request

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index():
    return f"package to {request.remote_addr}"
