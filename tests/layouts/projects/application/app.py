from flask import Flask, render_template
from models import Product

app = Flask(__name__)


@app.get("/")
async def index():
    return render_template("index.txt", product=Product("application"))
