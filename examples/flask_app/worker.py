"""What ``celery -A flask_app.worker`` loads: the Celery app that the factory made."""

from flask_app import create_app

app = create_app().extensions["celery"]
