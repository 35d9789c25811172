import os
import sqlite3

from flask import Flask, request, url_for

app = Flask(__name__)
database = os.path.join(app.instance_path, "visits.sqlite")


@app.get("/")
def index():
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS visits (address)")
        connection.execute("INSERT INTO visits VALUES (?)", (request.remote_addr,))
    return f"legacy at {url_for('index', _external=True)} to {request.remote_addr}"
