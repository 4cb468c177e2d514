"""Settings of a test run: the platform's own, on the servers and the database of this run and worker."""

from tests import harness

harness.enter()

from config.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["tests.harness.QuickArgon2"]
