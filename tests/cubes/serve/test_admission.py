"""Turns: who gets the next free place, whose quota holds them back, and who is refused where the line is full."""

from __future__ import annotations

import random
import threading
from collections import Counter
from contextlib import ExitStack

import pytest
from gated import until

from cubes.serve.admission import Admission, Share
from lake.errors import QueryError


class Crowd:
    """Statements in threads, which run one after another as each is let go."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.began: list[str] = []
        self.refused: list[tuple[str, str]] = []
        self.go: list[threading.Event] = []
        self.stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._number = 0

    def send(self, user: str, **more: object) -> None:
        """A statement of a user, on a connection of its own; returns once it has a place, stands in line or is out."""
        before = self.admission.running + self.admission.waiting + len(self.refused)
        self._number += 1
        share = Share(user, process=self._number, **more)  # type: ignore[arg-type]
        thread = threading.Thread(target=self._run, args=(share,))
        self._threads.append(thread)
        thread.start()
        until(lambda: self.admission.running + self.admission.waiting + len(self.refused) > before)

    def _run(self, share: Share) -> None:
        done = threading.Event()
        try:
            with self.admission.enter(share, self.stop.is_set):
                self.began.append(share.user)
                self.go.append(done)
                assert done.wait(60)
        except QueryError as error:
            self.refused.append((share.user, error.code))

    def end_one(self) -> None:
        """Let the statement that began first end, and wait until the next one has begun."""
        want = len(self.began) + (1 if self.admission.waiting else 0)
        self.go.pop(0).set()
        until(lambda: len(self.began) >= want or not self.admission.waiting)

    def finish(self) -> None:
        while self.admission.running or self.admission.waiting:
            until(lambda: bool(self.go) or not self.admission.running)
            while self.go:
                self.go.pop(0).set()
        for thread in self._threads:
            thread.join(60)


def test_a_user_with_many_statements_does_not_stand_before_one_with_few() -> None:
    crowd = Crowd(Admission(1, 100))
    for user in "aaaaabbc":
        crowd.send(user)
    for _ in range(7):
        crowd.end_one()
    crowd.finish()
    # The fewest running first, then whoever was served longest ago: b and c never wait for a's line.
    assert crowd.began == list("abcabaaa")


def test_a_free_place_goes_to_whoever_has_fewest_running() -> None:
    crowd = Crowd(Admission(3, 100))
    for user in "aaaab":
        crowd.send(user)
    assert crowd.began == list("aaa")
    crowd.end_one()
    assert crowd.began[3] == "b"
    crowd.end_one()
    assert crowd.began[4] == "a"
    crowd.finish()


def test_quotas_of_users_and_tenants_hold_back_only_their_own() -> None:
    crowd = Crowd(Admission(4, 100))
    for _ in range(3):
        crowd.send("a", running=1)
    for user in ("b", "c", "d"):
        crowd.send(user, tenant="t", tenant_running=2)
    crowd.send("e")
    assert Counter(crowd.began) == {"a": 1, "b": 1, "c": 1, "e": 1}
    assert crowd.admission.waiting == 3
    crowd.finish()
    assert Counter(crowd.began) == {"a": 3, "b": 1, "c": 1, "d": 1, "e": 1}


def test_where_the_line_is_full_the_user_with_most_in_it_gives_way() -> None:
    crowd = Crowd(Admission(1, 3))
    for user in "aaaa":
        crowd.send(user)
    crowd.send("a")
    assert crowd.refused == [("a", "53300")]
    crowd.send("b")
    until(lambda: len(crowd.refused) == 2)
    assert crowd.refused[1] == ("a", "53300")
    crowd.send("b")
    until(lambda: len(crowd.refused) == 3)
    crowd.finish()
    assert Counter(crowd.began)["b"] >= 1
    assert Counter(crowd.began) + Counter(user for user, _ in crowd.refused) == {"a": 5, "b": 2}


def test_one_that_is_stopped_in_line_leaves_it() -> None:
    crowd = Crowd(Admission(1, 3))
    crowd.send("a")
    crowd.send("b")
    crowd.stop.set()
    until(lambda: crowd.refused == [("b", "57014")])
    assert (crowd.admission.running, crowd.admission.waiting) == (1, 0)
    crowd.finish()


def test_a_connection_never_waits_for_itself() -> None:
    admission = Admission(3, 10)
    mine = Share("a", process=7, running=2)
    with ExitStack() as held:
        held.enter_context(admission.enter(mine, lambda: False))
        held.enter_context(admission.enter(mine, lambda: False))
        with pytest.raises(QueryError) as caught, admission.enter(mine, lambda: False):
            pytest.fail("a third place")
        assert caught.value.code == "53400"
        with admission.enter(Share("b", process=8), lambda: False):
            assert admission.running == 3
    assert (admission.running, admission.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_bounds_hold_whatever_comes(seed: int) -> None:
    """Many threads of random users: never too many at once, everybody is served, nothing is left behind."""
    rng, admission = random.Random(seed), Admission(3, 1000)
    now: Counter[str] = Counter()
    worst: Counter[str] = Counter()
    lock, served = threading.Lock(), []

    def run(number: int, user: str) -> None:
        with admission.enter(Share(user, user[0], number, 2, 2), lambda: False):
            for delta in (1, -1):
                with lock:
                    for name in ("all", user, user[0]):
                        now[name] += delta
                        worst[name] = max(worst[name], now[name])
            served.append(number)

    names = [rng.choice(("x1", "x2", "y1", "z1")) for _ in range(200)]
    threads = [threading.Thread(target=run, args=(number, name)) for number, name in enumerate(names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(served) == list(range(200)), f"seed {seed}"
    assert worst["all"] <= 3, f"seed {seed}"
    assert all(count <= 2 for name, count in worst.items() if name != "all"), f"seed {seed}"
    assert (admission.running, admission.waiting, admission._lines, admission._served) == (0, 0, {}, {})
