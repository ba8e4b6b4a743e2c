"""Jobs on pods that are going need no slot of the Deployment."""

from tidegate_operator.scaling import PoolPolicy, Recent, Signals, decide


def test_jobs_of_draining_workers_keep_no_replica_but_one() -> None:
    policy = PoolPolicy(concurrency=10)
    signals = Signals(0, 0, 40, 0.0, 0.0, 10.0, None, None, 0, blocked=False, current=2)
    assert decide(policy, signals, Recent(0.0), 0.0).wanted == 4
    going = Signals(0, 0, 40, 0.0, 0.0, 10.0, None, None, 0, blocked=False, current=2, draining=40)
    assert decide(policy, going, Recent(0.0), 0.0).wanted == 1
