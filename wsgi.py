"""What gunicorn and the flask command import."""

from app import create_app, settings
from app.cli import doctor, without_file

try:
    app = create_app(settings.read())
except settings.InvalidSettingsError as error:
    found = without_file.settings_without_file(error)
    app = create_app(found) if found else doctor.without_settings(error)
