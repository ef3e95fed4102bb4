"""The ledger counts what is done once, whatever becomes of the workers."""

from cluster.ledger import Amount, JobLedger


def test_a_shard_that_is_begun_again_counts_once() -> None:
    ledger = JobLedger()
    assert ledger.begin("a", 11) == 1
    ledger.progress("a", Amount(3, 300, 1))
    assert ledger.begin("b", 12) == 1
    ledger.progress("b", Amount(2, 200, 0))
    state = ledger.state()
    assert (state.done, state.at_work, state.restarts) == (Amount(5, 500, 1), {"a": 11, "b": 12}, 0)

    assert ledger.begin("a", 13) == 2  # its worker was lost, and with it what it had done
    assert ledger.state().done == Amount(2, 200, 0)
    ledger.end("a", Amount(4, 400, 1))
    ledger.end("b", Amount())  # it failed
    state = ledger.state()
    assert (state.done, state.at_work, state.restarts) == (Amount(4, 400, 1), {}, 1)


def test_what_a_lost_worker_sent_late_is_not_counted() -> None:
    ledger = JobLedger()
    ledger.begin("a", 11)
    ledger.end("a", Amount(4, 400))
    ledger.progress("a", Amount(3, 300))
    ledger.end("a", Amount(4, 400))
    assert ledger.state().done == Amount(4, 400)
