"""A Kibana to talk to."""

from __future__ import annotations

from tests.cluster.kibana_stand_in import stand_in

__all__ = ["stand_in"]
