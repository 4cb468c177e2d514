"""The web role: HTTP through any WSGI server."""

import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()
# What is loaded by now stays for good: no request waits while the collector walks all of it again.
gc.collect()
gc.freeze()
