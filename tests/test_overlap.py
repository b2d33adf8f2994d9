"""Work in two threads: in order, bounded, and over when either side ends."""

import threading
from itertools import count

import pytest

from dacodec.overlap import Broken, ahead, behind


class Bad(Exception):
    pass


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def failing(n):
    yield from range(n)
    raise Bad


def test_ahead_gives_what_is_made_and_makes_it_in_a_thread_of_its_own():
    def made():
        for i in range(1000):
            yield i, threading.get_ident()

    with ahead(made()) as blocks:
        numbers, threads = zip(*blocks, strict=True)
    assert numbers == tuple(range(1000))
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


def test_behind_uses_all_in_a_thread_of_its_own_and_gives_the_result():
    assert behind(lambda blocks: (list(blocks), threading.get_ident()), range(1000))[0] == [*range(1000)]
    assert behind(lambda blocks: threading.get_ident(), ()) != threading.get_ident()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_no_more_is_made_ahead_than_asked_for(n):
    made = []
    pulled = threading.Semaphore(0)

    def make():
        for i in count():
            made.append(i)
            pulled.release()
            yield i

    with ahead(make(), n) as blocks:
        for used in range(20):
            assert next(blocks) == used
            # The one in use, those that wait, and the next one.
            while len(made) < used + n + 2:
                assert pulled.acquire(timeout=60)
            assert len(made) == used + n + 2


def test_behind_waits_for_whoever_uses():
    go, made = threading.Event(), []

    def make():
        for i in range(10):
            made.append(i)
            if i == 3:  # two wait, one is in use: being asked for this one shows that nothing hangs
                go.set()
            yield i

    def use(blocks):
        first = next(blocks)
        assert go.wait(60)
        return [first, *blocks]

    assert behind(use, make()) == [*range(10)]


def test_an_error_in_making_comes_after_the_blocks_before():
    used = []
    with pytest.raises(Bad), ahead(failing(5)) as blocks:
        used.extend(iter(lambda: next(blocks), None))
    assert used == [*range(5)]


def test_leaving_early_ends_the_making():
    with ahead(count()) as blocks:
        assert next(blocks) == 0

    def interrupted():
        with ahead(count()) as blocks:
            next(blocks)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_an_error_in_using_ends_the_making():
    def use(blocks):
        next(blocks)
        raise Bad

    with pytest.raises(Bad):
        behind(use, count())
    assert behind(next, count()) == 0  # so does a consumer that stops early


def test_an_error_in_making_is_no_end_to_whoever_uses():
    ends = []

    def use(blocks):
        try:
            for _ in blocks:
                pass
            ends.append("whole")
        except Broken:
            ends.append("broken")
            raise

    with pytest.raises(Bad):
        behind(use, failing(5))
    assert ends == ["broken"]


def test_both_at_once():
    with ahead(range(99)) as made:
        assert behind(sum, (2 * i for i in made)) == 9702
    with pytest.raises(Bad), ahead(failing(9)) as made:
        behind(sum, made)
    with pytest.raises(Bad), ahead(count()) as made:
        behind(lambda blocks: list(failing(next(blocks))), made)
