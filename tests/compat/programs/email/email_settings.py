"""Django settings for the tests of django-celery-email: those of its archive, and an image that it leaves out."""

from base64 import b64decode
from pathlib import Path

from celery import Celery
from tests import settings as theirs
from tests.settings import *  # noqa: F403

IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
Path(theirs.__file__).with_name("image.png").write_bytes(b64decode(IMAGE))
TEST_RUNNER = "tests.DJCETestSuiteRunner"

app = Celery("email_tests", broker="memory://")
