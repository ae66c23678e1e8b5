"""Saved queries in Kibana over time: edits, deletion, and a Kibana that is away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runner.clock import FakeClock
from runner.cluster.connection import Connection
from runner.cluster.kibana import Kibana
from runner.cluster.kibana_saved_queries import KibanaSavedQueries
from runner.cluster.transport import Retry
from runner.search.files.file_search import FileSearch
from runner.service.kibana.kibana_queries import KibanaQueries
from runner.service.rules_in_use import ActiveRules, RuleSources, load_active
from tests.cli.test_saved_queries import RULE, saved
from tests.cluster.kibana_stand_in import StandIn
from tests.cluster.kibana_stand_in import stand_in as stand_in


class Place:
    """A rule that names a saved query, a Kibana, and a clock."""

    def __init__(self, folder: Path, kibana: StandIn) -> None:
        (folder / "one.toml").write_text(RULE.format(name="one", saved_id="lab-nc", more=""))
        self.clock = FakeClock(datetime(2026, 3, 2, 10, tzinfo=UTC))
        connection = Connection(hosts=(kibana.url,))
        reader = KibanaSavedQueries(Kibana(connection, retry=Retry(attempts=1)))
        self.queries = KibanaQueries(lambda: reader, self.clock)
        self.sources = RuleSources((folder,), queries=self.queries)
        self.active: ActiveRules | None = None

    async def look(self, after: float = 0.0) -> tuple[str, str, list[str]]:
        """The query in use, why it is withheld, and what is said."""
        self.clock.advance(timedelta(seconds=after))
        self.active = await load_active(self.sources, FileSearch(()), self.active, at=self.clock.now())
        (one,) = self.active.compiled
        return one.rule.query, one.withheld, [str(problem) for problem in self.active.problems]


@pytest.fixture
def place(tmp_path: Path, stand_in: StandIn) -> Place:
    return Place(tmp_path, stand_in)


async def test_an_edit_in_kibana_counts_a_minute_later(place: Place, stand_in: StandIn) -> None:
    stand_in.objects["default", "query", "lab-nc"] = saved("process.name: nc")
    assert await place.look() == ("process.name: nc", "", [])
    before = place.active
    stand_in.objects["default", "query", "lab-nc"] = saved("process.name: ncat")
    await place.look(after=59)
    assert place.active is before
    assert await place.look(after=1) == ("process.name: ncat", "", [])
    await place.queries.close()


async def test_while_kibana_fails_the_last_version_stays_in_use_and_that_is_said(
    place: Place, stand_in: StandIn
) -> None:
    stand_in.objects["default", "query", "lab-nc"] = saved("process.name: nc")
    await place.look()
    stand_in.fail_next(500, b"{}", times=9)
    query, withheld, (told,) = await place.look(after=60)
    assert (query, withheld) == ("process.name: nc", "")
    assert "`lab-nc` cannot be read" in told and "its version of 2026-03-02T10:00:00" in told
    stand_in.failures.clear()
    assert await place.look(after=60) == ("process.name: nc", "", [])
    await place.queries.close()


async def test_a_rule_waits_for_its_query_and_a_deleted_one_is_not_searched_any_more(
    place: Place, stand_in: StandIn
) -> None:
    _, withheld, (told,) = await place.look()
    assert "is not in Kibana at" in withheld and "its windows stay owed" in told
    stand_in.objects["default", "query", "lab-nc"] = saved("process.name: nc")
    assert await place.look(after=10) == ("process.name: nc", "", [])
    del stand_in.objects["default", "query", "lab-nc"]
    _, withheld, _ = await place.look(after=60)
    assert "is not in Kibana at" in withheld
    await place.queries.close()


async def test_rules_that_read_alerts_search_the_runners_own_in_a_cluster(tmp_path: Path) -> None:
    for name, index in (("alerts", '".alerts-security.*"'), ("events", '"logs-*"')):
        text = RULE.format(name=name, saved_id="x", more="query = 'a: b'").replace('"logs-*"', index)
        (tmp_path / f"{name}.toml").write_text(text)
    sources = RuleSources((tmp_path,), own_alerts="rule-runner-alerts-soc")
    active = await load_active(sources, FileSearch(()), at=datetime(2026, 3, 2, 10, tzinfo=UTC))
    found = {one.rule.rule_id: one.rule.index for one in active.compiled}
    assert found == {"alerts": (".alerts-security.*", "rule-runner-alerts-soc"), "events": ("logs-*",)}
    assert await load_active(sources, FileSearch(()), active, at=datetime(2026, 3, 2, 10, tzinfo=UTC)) is active
