"""Jobs that wait for jobs of the other library: parent and child enqueued, run and freed on either side of the border."""

from __future__ import annotations

import pytest

from tests.interop.sides import Direction, Ours, Side, Theirs

PAIRS = [(parent, child) for parent in ("aiorq2", "rq") for child in ("aiorq2", "rq")]
"""Who enqueues the parent, and who the child."""


@pytest.fixture
def sides(ours: Ours, theirs: Theirs) -> dict[str, Side]:
    """Both by name."""
    return {"aiorq2": ours, "rq": theirs}


@pytest.mark.parametrize("runner", ["aiorq2", "rq"])
async def test_dependency_that_finishes_frees_the_job(
    sides: dict[str, Side], ours: Ours, theirs: Theirs, runner: str
) -> None:
    """A child is deferred until its parent has finished, and then queued, in one step of whoever ran the parent."""
    parents = [await sides[parent].enqueue("add", 1) for parent, _ in PAIRS]
    children = [
        await sides[child].enqueue("add", 2, depends_on=[parent], queue="other")
        for (_, child), parent in zip(PAIRS, parents, strict=True)
    ]
    for side in sides.values():
        assert set(await side.ids("deferred", "other")) == set(children)
        for parent, child in zip(parents, children, strict=True):
            facts = await side.facts(child)
            assert (facts.status, facts.dependency_ids) == ("deferred", [parent])

    await sides[runner].work("q")

    for side in sides.values():
        assert [await side.status(child) for child in children] == ["queued"] * len(PAIRS)
        assert await side.ids("deferred", "other") == []
        assert sorted(await side.ids("queued", "other")) == sorted(children)
    await sides["rq" if runner == "aiorq2" else "aiorq2"].work("other")
    assert [(await theirs.facts(child)).return_value for child in children] == [2] * len(PAIRS)


@pytest.mark.parametrize("runner", ["aiorq2", "rq"])
async def test_dependency_that_fails(
    sides: dict[str, Side], ours: Ours, theirs: Theirs, runner: str
) -> None:
    """It frees the job only with ``allow_failure``; otherwise the job waits, as in RQ."""
    wanted = {}
    for parent, child in PAIRS:
        first = await sides[parent].enqueue("fail")
        for allow, status in ((True, "queued"), (False, "deferred")):
            id = await sides[child].enqueue(
                "add", 2, depends_on=[first], allow_failure=allow, queue="other"
            )
            wanted[id] = status

    await sides[runner].work("q")

    for side in sides.values():
        assert {id: await side.status(id) for id in wanted} == wanted
        for status in ("queued", "deferred"):
            ids = await side.ids(status, "other")
            assert sorted(ids) == sorted(id for id, one in wanted.items() if one == status)


@pytest.mark.parametrize("second", ["aiorq2", "rq"])
async def test_dependency_that_fails_and_is_requeued(
    across: Direction,
    sides: dict[str, Side],
    ours: Ours,
    theirs: Theirs,
    second: str,
    tmp_path: object,
) -> None:
    """What waits for a failed job is freed when a second run of it succeeds, whoever runs that."""
    parent = await across.producer.enqueue("fail_times", f"{tmp_path}/runs", 1)
    child = await across.worker.enqueue("add", 2, depends_on=[parent], queue="other")
    await across.worker.work("q")
    assert await theirs.status(child) == "deferred"

    await across.producer.requeue(parent)
    await sides[second].work("q")

    assert await theirs.status(parent) == "finished"
    assert await theirs.status(child) == await ours.status(child) == "queued"


@pytest.mark.parametrize("last", ["aiorq2", "rq"])
async def test_dependency_on_several_of_both(
    sides: dict[str, Side], ours: Ours, theirs: Theirs, last: str
) -> None:
    """A job that waits for jobs of both libraries is freed by the last of them, once."""
    mine = await ours.enqueue("add", 1, queue="mine")
    yours = await theirs.enqueue("add", 2, queue="yours")
    child = await sides[last].enqueue("add", 3, depends_on=[mine, yours])
    order: list[tuple[Side, str]] = [(theirs, "mine"), (ours, "yours")]

    for number, (side, queue) in enumerate(order if last == "aiorq2" else order[::-1]):
        assert await theirs.status(child) == "deferred", number
        await side.work(queue)

    assert await theirs.ids("queued") == await ours.ids("queued") == [child]


async def test_dependency_chain_across_the_border(ours: Ours, theirs: Theirs) -> None:
    """Each link may belong to the other library: the whole chain is run by two workers who take turns."""
    ids = [await ours.enqueue("add", 0)]
    sides: list[Side] = [theirs, ours]
    for number in range(1, 6):
        ids.append(await sides[number % 2].enqueue("add", number, depends_on=[ids[-1]]))

    for number in range(6):
        assert await theirs.ids("queued") == [ids[number]]
        await sides[number % 2].work(max_jobs=1)

    assert [(await theirs.facts(id)).return_value for id in ids] == list(range(6))


async def test_dependency_that_was_done_before(
    across: Direction, ours: Ours, theirs: Theirs
) -> None:
    """A job whose parent has finished before is queued at once."""
    parent = await across.producer.enqueue("add", 1)
    await across.producer.work()

    child = await across.worker.enqueue("add", 2, depends_on=[parent])

    assert await theirs.status(child) == await ours.status(child) == "queued"


async def test_dependency_that_is_cancelled(across: Direction, ours: Ours, theirs: Theirs) -> None:
    """What waits for a cancelled job waits, as in RQ; whoever cancels may say that it counts as done."""
    parents = [await across.producer.enqueue("add", number) for number in range(2)]
    children = [await across.worker.enqueue("add", 5, depends_on=[one]) for one in parents]

    await across.worker.cancel(parents[0])
    await across.worker.cancel(parents[1], enqueue_dependents=True)

    assert await theirs.status(children[0]) == await ours.status(children[0]) == "deferred"
    assert await theirs.status(children[1]) == await ours.status(children[1]) == "queued"


@pytest.mark.parametrize(("policy", "wanted"), [("cancel", "canceled"), ("run", "queued")])
async def test_dependency_policy_of_ours_when_rq_runs_the_parent(
    ours: Ours, theirs: Theirs, policy: str, wanted: str
) -> None:
    """rq knows nothing of ``on_parent_failure``: our next sweep sees to it."""
    parent = await theirs.enqueue("fail")
    child = await ours.enqueue("add", 2, depends_on=[parent], on_parent_failure=policy, queue="q")

    await theirs.work()
    assert await ours.status(child) == "deferred"
    await ours.sweep()

    assert await theirs.status(child) == await ours.status(child) == wanted


async def test_dependency_result_reaches_the_other_side(
    across: Direction, ours: Ours, theirs: Theirs
) -> None:
    """A child finds its parents, whoever enqueued and ran them."""
    parent = await across.producer.enqueue("add", 40, 2)
    await across.worker.work()
    child = await across.producer.enqueue("add", 1, depends_on=[parent])

    (found,) = await (await ours.job(child)).fetch_dependencies()

    assert found.result == 42
    assert (await theirs.facts(child)).dependency_ids == [parent]


async def test_dependency_wait_is_not_ended_by_the_upkeep_of_rq(ours: Ours, theirs: Theirs) -> None:
    """To rq 2 the score of a deferred job is the end of its time, when whoever looks fails it; ours is far away for it."""
    parent = await ours.enqueue("add", 1)
    children = [await ours.enqueue("add", number, depends_on=[parent]) for number in range(12)]

    await theirs.peer("maintain")
    await theirs.peer("look_everywhere")

    assert {await ours.status(child) for child in children} == {"deferred"}
    await ours.work()
    assert {await theirs.status(child) for child in children} == {"finished"}


@pytest.mark.parametrize("how", ["requeued", "replaced", "deleted"])
async def test_dependency_that_is_given_up_frees_nobody(
    ours: Ours, theirs: Theirs, how: str
) -> None:
    """A job that was made to run without its parent is not enqueued once more when an rq worker ends the parent."""
    parent = await ours.enqueue("add", 1)
    child = await ours.enqueue("add", 2, depends_on=[parent], queue="other", job_id="child")
    if how == "deleted":
        await ours.delete(child)
    if how == "requeued":
        await ours.cancel(child)
        await ours.requeue(child)
    else:
        await ours.enqueue("add", 2, queue="other", job_id="child")
    await ours.work("other")
    assert await ours.status(child) == "finished"

    await theirs.work("q")

    assert await theirs.status(child) == await ours.status(child) == "finished"
    assert await theirs.ids("queued", "other") == []
