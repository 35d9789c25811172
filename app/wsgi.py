"""The application for Gunicorn: APP_MODULE=app.wsgi:app."""

from . import create_app

app = create_app()
