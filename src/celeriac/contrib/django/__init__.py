"""Django: put `celeriac.contrib.django` into INSTALLED_APPS for the outbox table and the command `manage.py celeriac`.

Everything else works without it, as soon as DJANGO_SETTINGS_MODULE is set.
"""
