import os
import secrets

from flask import Flask, redirect, render_template, request, session, url_for

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY") or secrets.token_hex()


@app.get("/")
def index():
    return render_template("index.html", visitor=session.get("name"), address=request.remote_addr)


@app.post("/login")
def login():
    session["name"] = request.form["name"]
    return redirect(url_for("index"))


@app.get("/static/generated.js")
def generated():
    return "1", {"Content-Type": "text/javascript"}


@app.errorhandler(404)
def missing(_):
    return "<h1>This page is not there</h1>", 404
