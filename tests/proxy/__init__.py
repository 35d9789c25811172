"""What Nginx does between clients and Gunicorn."""

import pytest

pytest.register_assert_rewrite("tests.proxy.raw")
