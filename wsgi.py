"""What gunicorn and the flask command import."""

from app import create_app, settings
from app.cli import doctor

try:
    app = create_app(settings.read())
except settings.InvalidSettingsError as error:
    app = doctor.without_settings(error)
