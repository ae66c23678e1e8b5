"""The fixtures that tests of several folders use."""

from tests.elasticsearch.fixture import (
    elasticsearch_url,
    eql_proxy,
    namespace,
    node,
    plain_proxy,
    secured_url,
)

__all__ = ["elasticsearch_url", "eql_proxy", "namespace", "node", "plain_proxy", "secured_url"]
