"""The fixtures that tests of several folders use, and how hypothesis looks for examples."""

import os

from hypothesis import HealthCheck, settings

from tests.elasticsearch.fixture import (
    elasticsearch_url,
    eql_proxy,
    namespace,
    node,
    plain_proxy,
    secured_url,
)

# How long an example takes says more of the machine than of the code. A change is judged by the same examples as the
# one before it; at a desk every run tries new ones.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("desk", _PATIENT)
settings.register_profile("ci", _PATIENT, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

__all__ = ["elasticsearch_url", "eql_proxy", "namespace", "node", "plain_proxy", "secured_url"]
