"""Needs a system package (libmagic), and a database that prestart.sh makes."""

import os
import sqlite3

import click
import magic
from flask import Flask, request

app = Flask(__name__)


def database():
    return sqlite3.connect(os.environ["DATABASE"])


@app.cli.command("init-db")
def init_db():
    with database() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS files (kind TEXT NOT NULL)")
    click.echo("the database is ready")


@app.get("/")
def index():
    count = database().execute("SELECT count(*) FROM files").fetchone()[0]
    return f"{count} files to {request.remote_addr}"


@app.post("/")
def add():
    kind = magic.from_buffer(request.get_data(), mime=True)
    with database() as connection:
        connection.execute("INSERT INTO files VALUES (?)", (kind,))
    return kind
