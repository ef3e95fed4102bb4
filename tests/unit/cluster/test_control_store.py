"""The private calls of Ray that nodes and trainings talk through; draining itself is tested with nodes to spare."""

import pytest
import ray

from cluster.control_store import ControlStore, TrainingNotes, say_leaving

pytestmark = pytest.mark.usefixtures("ray_here")

GONE = "f" * 56


@pytest.fixture
def notes() -> TrainingNotes:
    context = ray.get_runtime_context()
    return TrainingNotes.open(ControlStore(context.gcs_address), context.get_job_id(), context.get_node_id())


def test_a_training_tells_each_node_what_it_waits_for(notes: TrainingNotes) -> None:
    here = notes.node_id
    assert (notes.said_to(here), notes.lets_go(here)) == (None, False)
    for say, said, lets_go in (
        (notes.writes_for, "writing", False),
        (lambda node: notes.saved_for(node, 12), "saved 12", True),
        (notes.nothing_on, "nothing here", True),
    ):
        say(here)
        assert (notes.said_to(here), notes.lets_go(here)) == (said, lets_go)
    assert notes.said_to(GONE) is None
    (found,) = TrainingNotes.all(notes.store)
    assert (found.name, found.job_id, found.node_id) == (notes.name, notes.job_id, here)
    assert not found.is_over()
    notes.close()
    assert found.is_over()
    assert (TrainingNotes.all(notes.store), notes.store.keys("training/")) == ([], [])


def test_the_training_of_a_driver_that_is_gone_is_over(notes: TrainingNotes) -> None:
    assert not notes.store.job_is_over(notes.job_id)
    assert notes.store.job_is_over("ffff0000")
    orphan = TrainingNotes.open(notes.store, "ffff0000", notes.node_id)
    assert orphan.is_over()
    for each in (orphan, notes):
        each.close()


def test_a_node_leaves_when_it_says_so(notes: TrainingNotes) -> None:
    assert notes.leaving_nodes() == set()
    say_leaving(notes.store, GONE)
    assert notes.leaving_nodes() == {GONE}
    notes.store.delete("leaving/")
    notes.close()
