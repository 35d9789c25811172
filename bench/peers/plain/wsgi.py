"""The sample API as one would first write it: a dictionary, boto3.resource and PyJWT. All peers serve this one."""

import os
import uuid

import boto3
import jwt
from flask import Flask, abort, jsonify, request

app = Flask(__name__)
table = boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])
keys = jwt.PyJWKClient(os.environ["COGNITO_JWKS_URL"])

# each process has a dictionary of its own, so what every process is asked for has to be there from the start
items = {
    os.environ["SEED_ID"]: {"id": os.environ["SEED_ID"], "title": "my title", "content": "my content"},
    os.environ["LARGE_ID"]: {"id": os.environ["LARGE_ID"], "title": "large", "content": "\u20ac" * 65_536},
}


@app.get("/ping")
def ping():
    return "pong\n"


@app.put("/item")
def create():
    item = new_item()
    items[item["id"]] = item
    return jsonify(item), 201


@app.get("/item/<id>")
def read(id):
    return jsonify(items.get(id) or abort(404))


@app.put("/db-item")
def create_in_table():
    return jsonify(put("SYSTEM")), 201


@app.get("/db-item/<id>")
def read_from_table(id):
    return jsonify(get("SYSTEM", id))


@app.put("/authenticated-item")
def create_for_user():
    return jsonify(put(user())), 201


@app.get("/authenticated-item/<id>")
def read_for_user(id):
    return jsonify(get(user(), id))


def new_item():
    body = request.get_json()
    return {"id": str(uuid.uuid4()), "title": body["title"], "content": body["content"]}


def put(owner):
    item = new_item()
    table.put_item(Item={"userId": owner, "itemId": item["id"], "title": item["title"], "content": item["content"]})
    return item


def get(owner, id):
    row = table.get_item(Key={"userId": owner, "itemId": id}).get("Item") or abort(404)
    return {"id": row["itemId"], "title": row["title"], "content": row["content"]}


def user():
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    try:
        key = keys.get_signing_key_from_jwt(token)
        claims = jwt.decode(token, key, algorithms=["RS256"], issuer=os.environ["ISSUER"])
    except jwt.PyJWTError:
        abort(401)
    if claims["token_use"] != "access" or claims["client_id"] != os.environ["COGNITO_CLIENT_ID"]:
        abort(401)
    return claims["sub"]
