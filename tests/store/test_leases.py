"""Leases: who leads which rules, whatever runners come, go, freeze or race; on every board, and on a locked file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from hypothesis import given
from hypothesis import strategies as st

from runner.cluster.connection import Connection
from runner.cluster.elasticsearch import Elastic, open_client
from runner.errors import StoreError
from runner.setup.index_objects import setup_objects
from runner.store.file_lock import FileLock, HeldError, Holder
from runner.store.leases import GROUPS, Change, EveryRule, LeaseBoard, Leases, Note, SharedLeases, group_of, share_out
from tests.cluster.opened import login_of
from tests.elasticsearch.proxy import Proxy
from tests.paths import ROOT
from tests.store.alerts import run
from tests.store.conftest import names_in, store_in
from tests.store.memory_board import MemoryBoard

pytestmark = pytest.mark.slow

RULES = [f"rule-{number}" for number in range(200)]
LEASE = timedelta(seconds=30)


@dataclass
class Time:
    """The time that passes for the runners of a test."""

    passed: timedelta = timedelta(0)

    def __call__(self) -> timedelta:
        return self.passed

    def advance(self, seconds: float) -> None:
        self.passed += timedelta(seconds=seconds)


@dataclass
class Site:
    """A place that runners share, and the time there."""

    board: LeaseBoard | None
    state: Path
    time: Time = field(default_factory=Time)

    def runner(self, name: str) -> Leases:
        if self.board is None:
            return FileLock(self.state, "run")
        return SharedLeases(self.board, name, duration=LEASE, elapsed=self.time)


@pytest.fixture
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Elastic]:
    opened = open_client(Connection(hosts=(request.getfixturevalue("elasticsearch_url"),)))
    yield opened
    await opened.close()


@pytest.fixture(params=["memory", "elasticsearch"])
def board(request: pytest.FixtureRequest) -> LeaseBoard:
    if request.param == "memory":
        return MemoryBoard()
    name: str = request.getfixturevalue("namespace")
    return store_in(request.getfixturevalue("client"), name).board


@pytest.fixture(params=["memory", pytest.param("elasticsearch", marks=pytest.mark.slow), "file"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    if request.param == "memory":
        return Site(MemoryBoard(), tmp_path / "state.db")
    if request.param == "file":
        return Site(None, tmp_path / "state.db")
    name: str = request.getfixturevalue("namespace")
    return Site(store_in(request.getfixturevalue("client"), name).board, tmp_path / "state.db")


async def led(runner: Leases) -> frozenset[str]:
    """What a runner leads after a renewal; nothing if it is told that it cannot."""
    try:
        return await runner.hold(RULES)
    except HeldError:
        return frozenset()


# Every kind


async def test_one_runner_leads_every_rule(site: Site) -> None:
    runner = site.runner("a")
    assert await runner.hold(RULES) == set(RULES)
    assert await runner.hold(RULES[:7]) == set(RULES[:7])
    assert await runner.hold([]) == frozenset()
    await runner.release()


async def test_two_runners_never_lead_a_rule_together_and_one_that_ends_gives_back_at_once(site: Site) -> None:
    one, other = site.runner("a"), site.runner("b")
    for _ in range(3):
        first, second = await led(one), await led(other)
        assert not first & second
    assert first | second == set(RULES)
    await one.release()
    assert await led(other) == set(RULES)
    await other.release()


async def test_what_was_given_back_can_be_taken_again(site: Site) -> None:
    one, other = site.runner("a"), site.runner("b")
    for runner in (one, other, one):
        assert await led(runner) == set(RULES)
        await runner.release()
    await one.release()


async def test_a_runner_that_shares_with_nobody_leads_every_rule() -> None:
    alone = EveryRule()
    assert await alone.hold(RULES) == set(RULES)
    await alone.release()


# Boards


async def test_a_note_is_replaced_only_by_who_has_read_it(board: LeaseBoard) -> None:
    assert await board.post([Change("group:1", Note("a"))]) == {"group:1"}
    assert await board.post([Change("group:1", Note("b"))]) == frozenset()
    read = (await board.read())["group:1"]
    assert read.note == Note("a")
    assert await board.post([Change("group:1", Note("c", ("1", "2"), 3), after=read)]) == {"group:1"}
    assert await board.post([Change("group:1", Note("d"), after=read)]) == frozenset()
    assert await board.post([Change("group:1", None, after=read)]) == frozenset()
    now = (await board.read())["group:1"]
    assert now.note == Note("c", ("1", "2"), 3)
    assert await board.post([Change("group:1", Note("e"), always=True), Change("runner:x", Note("x"))]) == {
        "group:1",
        "runner:x",
    }
    assert await board.post([Change("runner:x", None, always=True)]) == {"runner:x"}
    assert {key: posted.note for key, posted in (await board.read()).items()} == {"group:1": Note("e")}


async def test_runners_share_evenly_and_keep_what_they_have(board: LeaseBoard) -> None:
    time = Time()
    runners = [SharedLeases(board, name, duration=LEASE, elapsed=time) for name in "abc"]
    held = [await runner.hold(RULES) for runner in runners[:2]]
    for _ in range(2):
        held = [await runner.hold(RULES) for runner in runners[:2]]
    groups = [{group_of(rule) for rule in rules} for rules in held]
    assert sorted(map(len, groups)) == sorted(divmod_shares(len({group_of(rule) for rule in RULES}), 2))
    assert not groups[0] & groups[1]
    # One more: within one renewal of the others it has its share, and they have kept the rest of theirs.
    await runners[2].hold(RULES)
    after = [await runner.hold(RULES) for runner in runners[:2]]
    after.append(await runners[2].hold(RULES))
    assert all(now <= before for now, before in zip(after, held, strict=False))
    sizes = sorted(len({group_of(rule) for rule in rules}) for rules in after)
    assert sizes == sorted(divmod_shares(len({group_of(rule) for rule in RULES}), 3))
    assert Counter(rule for rules in after for rule in rules) == Counter(RULES)


def divmod_shares(groups: int, runners: int) -> list[int]:
    return [groups // runners + (place < groups % runners) for place in range(runners)]


async def test_a_dead_runner_is_replaced_after_the_lease_and_not_before(board: LeaseBoard) -> None:
    time = Time()
    dead = SharedLeases(board, "dead", duration=LEASE, elapsed=time)
    alive = SharedLeases(board, "alive", duration=LEASE, elapsed=time)
    await dead.hold(RULES)
    for _ in range(2):
        await alive.hold(RULES)
        await dead.hold(RULES)
    share = await alive.hold(RULES)
    assert 60 < len(share) < 140
    for _ in range(2):
        time.advance(10)
        assert await alive.hold(RULES) == share
    time.advance(10)
    assert await alive.hold(RULES) == set(RULES)
    # It was only frozen: it is given a share again, and what it believes meanwhile harms nobody.
    assert not await dead.hold(RULES) & await alive.hold(RULES)
    assert 60 < len(await dead.hold(RULES)) < 140


async def test_clocks_of_runners_need_not_agree(board: LeaseBoard) -> None:
    early, late = Time(), Time(timedelta(days=900))
    one = SharedLeases(board, "one", duration=LEASE, elapsed=early)
    other = SharedLeases(board, "other", duration=LEASE, elapsed=late)
    for _ in range(8):
        early.advance(10)
        late.advance(10.5)
        first, second = await one.hold(RULES), await other.hold(RULES)
        assert not first & second
    assert first | second == set(RULES)


async def test_who_was_away_itself_takes_nobody_for_dead() -> None:
    board, time = MemoryBoard(), Time()
    one = SharedLeases(board, "one", duration=LEASE, elapsed=time)
    other = SharedLeases(board, "other", duration=LEASE, elapsed=time)
    for _ in range(3):
        await one.hold(RULES)
        share = await other.hold(RULES)
    time.advance(3_600)  # a suspended machine, or a cluster that was away for both
    assert not await one.hold(RULES) & share
    assert await other.hold(RULES) == share


async def test_no_rule_is_left_to_a_runner_that_does_not_have_it() -> None:
    board, time = MemoryBoard(), Time()
    old = SharedLeases(board, "old", duration=LEASE, elapsed=time)
    new = SharedLeases(board, "new", duration=LEASE, elapsed=time)
    for _ in range(4):
        theirs, ours = await old.hold(RULES[:150]), await new.hold(RULES)
    assert theirs <= set(RULES[:150])
    assert theirs | ours == set(RULES)
    for _ in range(4):
        theirs, ours = await old.hold(RULES), await new.hold(RULES)
    assert theirs | ours == set(RULES)
    assert not theirs & ours
    groups = [key for key in await board.read() if key.startswith("group:")]
    assert len(groups) == len({group_of(rule) for rule in RULES})


async def test_many_start_at_once(board: LeaseBoard) -> None:
    time = Time()
    runners = [SharedLeases(board, f"r{number}", duration=LEASE, elapsed=time) for number in range(5)]
    for _ in range(6):
        held = await asyncio.gather(*(runner.hold(RULES) for runner in runners))
        time.advance(5)
    assert Counter(rule for rules in held for rule in rules) == Counter(RULES)
    sizes = [len({group_of(rule) for rule in rules}) for rules in held]
    assert max(sizes) - min(sizes) <= 1


async def test_notes_of_the_dead_do_not_pile_up() -> None:
    board, time = MemoryBoard(), Time()
    lasting = SharedLeases(board, "lasting", duration=LEASE, elapsed=time)
    for number in range(2):
        killed = SharedLeases(board, f"killed-{number}", duration=LEASE, elapsed=time)
        await killed.hold(RULES)
        for _ in range(5):
            await lasting.hold(RULES)
            time.advance(10)
    notes = await board.read()
    assert [key for key in notes if key.startswith("runner:")] == ["runner:lasting"]
    assert len(notes) <= GROUPS + 1


# Elasticsearch


async def test_a_renewal_costs_two_requests_however_many_rules(eql_proxy: Proxy, namespace: str) -> None:
    client = open_client(Connection(hosts=(eql_proxy.url,)))
    try:
        leases = SharedLeases(store_in(client, namespace).board, "one", duration=LEASE, elapsed=Time())
        rules = [f"rule-{number}" for number in range(5_000)]
        assert len(await leases.hold(rules)) == 5_000
        eql_proxy.clear()
        assert len(await leases.hold(rules)) == 5_000
        assert [sent.path.rpartition("/")[2] for sent in eql_proxy.requests] == ["_bulk", "_search"]
    finally:
        await client.close()


async def test_leases_and_the_ledger_stand_in_one_index_and_see_nothing_of_each_other(
    client: Elastic, namespace: str
) -> None:
    store = store_in(client, namespace)
    await store.ledger.record(run(), "f")
    leases = SharedLeases(store.board, "one", duration=LEASE, elapsed=Time())
    assert await leases.hold(RULES) == set(RULES)
    assert list(await store_in(client, namespace).ledger.read()) == ["rule-1"]
    assert all(key.startswith(("group:", "runner:")) for key in await store.board.read())


async def test_an_index_that_cannot_be_written_is_an_error(eql_proxy: Proxy, namespace: str) -> None:
    client = open_client(Connection(hosts=(eql_proxy.url,)))
    try:
        store = store_in(client, namespace)
        await store.installation.install()
        leases = SharedLeases(store.board, "one", duration=LEASE, elapsed=Time())
        eql_proxy.fail_next(403, on="_bulk", kind="cluster_block_exception", reason="index read-only")
        with pytest.raises(StoreError, match="index read-only"):
            await leases.hold(RULES)
        assert await leases.hold(RULES) == set(RULES)
    finally:
        await client.close()


@pytest.mark.parametrize("may_delete", [True, False])
async def test_the_runners_role_suffices_and_one_without_the_right_to_delete_nearly(
    secured_url: str, caplog: pytest.LogCaptureFixture, may_delete: bool
) -> None:
    name = f"leases{int(may_delete)}"
    admin = open_client(login_of(secured_url))
    try:
        store = store_in(admin, name)
        await store.installation.install()
        roles = setup_objects(names_in(name))["roles"]
        (role,) = [body for title, body in roles.items() if title.endswith("-write")]
        for index in role["indices"]:
            index["privileges"] = [right for right in index["privileges"] if may_delete or right != "delete"]
        await admin.write_object("role", f"{name}-role", role)
        with Elasticsearch(secured_url) as client:
            client.security.put_user(username=name, password="long-enough-1", roles=[f"{name}-role"])
    finally:
        await admin.close()
    plain = f"http://{secured_url.rpartition('@')[2]}"
    client_ = open_client(Connection(hosts=(plain,), username=name, password="long-enough-1"))
    try:
        board, time = store_in(client_, name).board, Time()
        await SharedLeases(board, "dead", duration=LEASE, elapsed=time).hold(RULES[:9])
        alive = SharedLeases(board, "alive", duration=LEASE, elapsed=time)
        for _ in range(5):
            await alive.hold(RULES[:9])
            time.advance(10)
        assert await alive.hold(RULES[:9]) == set(RULES[:9])
        assert ("runner:dead" in await board.read()) is not may_delete
        warnings = [record.getMessage() for record in caplog.records if "stays there" in record.getMessage()]
        assert len(warnings) == (0 if may_delete else 1)
        await alive.release()
    finally:
        await client_.close()


# Sharing out


NAMES = st.sampled_from(("a", "b", "c", "d", "e"))
GROUP_NAMES = st.integers(0, 30).map(str)


@given(
    runners=st.dictionaries(NAMES, st.frozensets(GROUP_NAMES), min_size=1),
    leaders=st.dictionaries(GROUP_NAMES, NAMES | st.just("gone")),
)
def test_every_group_goes_to_one_who_has_rules_of_it(
    runners: dict[str, frozenset[str]], leaders: dict[str, str]
) -> None:
    shared = share_out(runners, leaders)
    assert shared.keys() == {group for wanted in runners.values() for group in wanted}
    assert all(group in runners[name] for group, name in shared.items())


@given(
    names=st.sets(NAMES, min_size=1),
    groups=st.frozensets(GROUP_NAMES, min_size=1),
    leaders=st.dictionaries(GROUP_NAMES, NAMES | st.just("gone")),
)
def test_runners_with_the_same_rules_share_evenly_and_settle_at_once(
    names: set[str], groups: frozenset[str], leaders: dict[str, str]
) -> None:
    runners = dict.fromkeys(sorted(names), groups)
    shared = share_out(runners, leaders)
    sizes = Counter(dict.fromkeys(names, 0)) + Counter(shared.values())
    counts = [sizes[name] for name in names]
    assert max(counts) - min(counts) <= 1
    assert share_out(runners, shared) == shared
    # Nobody gives up more than what is over their share.
    led_before = Counter(name for group, name in leaders.items() if group in groups and name in names)
    kept = Counter(name for group, name in shared.items() if leaders.get(group) == name)
    each = len(groups) // len(names)
    assert all(kept[name] >= min(count, each) for name, count in led_before.items())


def test_rules_are_spread_over_the_groups() -> None:
    sizes = Counter(group_of(f"rule-{number}") for number in range(6_400))
    assert len(sizes) == GROUPS
    assert max(sizes.values()) < 150


# The lock of a file


HOLDER = """
import asyncio, sys
from pathlib import Path
from runner.store.file_lock import FileLock
FileLock(Path(sys.argv[1]), sys.argv[2]).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def holding(state: Path, command: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state), command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def never() -> bool:
    return False


async def test_who_holds_the_file_is_named_and_a_kill_lets_go(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    lock = FileLock(state, "run")
    with holding(state, "run") as process:
        with pytest.raises(HeldError) as caught:
            lock.acquire()
        assert caught.value.holder == Holder(process.pid, socket.gethostname(), "run")
        assert str(caught.value) == (
            f"{state}: `rule-runner run` (process {process.pid} on {socket.gethostname()}) works with this file; "
            "stop it first, or name another file with --state"
        )
        os.kill(process.pid, signal.SIGKILL)
    lock.acquire()
    assert json.loads((tmp_path / "state.db.lock").read_text())["pid"] == os.getpid()
    assert stat.S_IMODE((tmp_path / "state.db.lock").stat().st_mode) == 0o600
    await lock.release()
    assert (tmp_path / "state.db.lock").read_text() == ""


async def test_a_single_run_is_waited_for_and_a_service_is_not(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    lock = FileLock(state, "once")
    with holding(state, "run") as process:
        with pytest.raises(HeldError, match="`rule-runner run`"):
            await lock.wait_for("once", seconds=1_000, enough=never)
        process.kill()
    with holding(state, "once") as process:
        with pytest.raises(HeldError, match="`rule-runner once`"):
            await lock.wait_for("once", seconds=0, enough=never)
        with pytest.raises(HeldError, match="`rule-runner once`"):
            await lock.wait_for("once", seconds=1_000, enough=lambda: True)
        looks: list[Callable[[], None]] = []

        def enough() -> bool:
            if not looks:
                process.kill()  # it ends while it is waited for
            looks.append(process.kill)
            return False

        await lock.wait_for("once", seconds=1_000, enough=enough)
        assert looks
    await lock.release()


def test_a_place_that_can_hold_no_lock_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"missing/state\.db\.lock cannot be opened: No such file"):
        FileLock(tmp_path / "missing" / "state.db", "run").acquire()
    (tmp_path / "state.db.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="cannot be opened"):
        FileLock(tmp_path / "state.db", "run").acquire()
    assert not (tmp_path / "elsewhere").exists()
