"""The chart's own pool, beside people who change it."""

from pathlib import Path

import yaml

from tests.bed.cluster import Cluster
from tests.cluster.operator_world import OperatorWorld


async def test_an_upgrade_reaches_all_that_nobody_has_changed_by_hand(
    control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    async with OperatorWorld(control_plane, namespace, tmp_path) as world:
        (pool,) = yaml.safe_load((tmp_path / "pools.yaml").read_text())
        name = pool["metadata"]["name"]

        async def lead(**spec: int) -> None:
            file = tmp_path / f"pools-{len(world.operators)}.yaml"
            file.write_text(yaml.safe_dump([{**pool, "spec": pool["spec"] | spec}]))
            operator = await world.leader(TIDEGATE_OPERATOR_DEFAULT_POOL_FILE=str(file))
            await world.until(
                name, lambda found: found["spec"]["drainSeconds"] == spec["drainSeconds"]
            )
            await operator.stop()

        await lead(drainSeconds=61, minReplicas=1, maxReplicas=10)
        patch = '{"spec": {"minReplicas": 0}}'
        await world.kubectl("patch", "wp", name, "--type=merge", "-p", patch)
        await lead(drainSeconds=62, minReplicas=2, maxReplicas=5)
        found = await world.get("workerpool", name)
        assert found is not None
        assert (found["spec"]["minReplicas"], found["spec"]["maxReplicas"]) == (0, 5)
