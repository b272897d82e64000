"""What gunicorn and the flask command import."""

from app import create_app, settings

app = create_app(settings.load())
