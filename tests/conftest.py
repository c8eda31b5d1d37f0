"""Settings for every test."""

from hypothesis import settings

settings.register_profile("gate", deadline=None)  # a slow machine must not fail a test
settings.load_profile("gate")
