"""Work whose labels no worker has ends at its deadline; with one that has them it is theirs."""

from collections.abc import Iterator
from time import time

import pytest
from sashizu_cluster.board import WorkBoard, queue_of
from sashizu_cluster.database import Database
from sashizu_cluster.engine import queues_for
from sashizu_cluster.schema import set_up
from sashizu_core.executors import Work

GPU = frozenset({"gpu:cuda:24g"})


@pytest.fixture
def board(dsn: str) -> Iterator[WorkBoard]:
    set_up(dsn)
    database = Database(dsn)
    yield WorkBoard(database, "test")
    database.close()


@pytest.mark.postgres
def test_work_for_a_label_that_nobody_has_ends_at_its_deadline_and_names_it(board):
    board.submit(Work("late", "op", labels=GPU, deadline=time() - 1))
    board.submit(Work("early", "op", labels=GPU, deadline=time() + 3600))

    assert board.expire() == ["late"]
    assert board.expire() == []

    assert board.status("late").state == "timeout"
    assert "gpu:cuda:24g" in board.status("late").error
    assert board.status("early").state == "waiting"


def test_every_worker_that_has_all_labels_can_do_the_work():
    wanted = queue_of(GPU, top=False)

    assert wanted in queues_for(GPU)
    assert wanted in queues_for(GPU | {"model:coder"})
    assert wanted not in queues_for({"model:coder"})
    assert queue_of((), top=False) in queues_for(GPU)
