"""The kinds of objects that the operator reads and writes, and where the API has them."""

from typing import Final, NamedTuple
from urllib.parse import quote

from tidegate_operator.names import GROUP, PLURAL, VERSION


class Resource(NamedTuple):
    """A kind of the API: `group` is empty for the core's."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str, name: str = "", part: str = "") -> str:
        """Of a namespace's objects (empty: of all), of one by its name, or of a part of it."""
        root = f"/apis/{self.group}" if self.group else "/api"
        within = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        rest = "".join(f"/{quote(each, safe='')}" for each in (name, part) if each)
        return f"{root}/{self.version}{within}/{self.plural}{rest}"


POOLS: Final = Resource(GROUP, VERSION, PLURAL)
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments")
BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets")
HPAS: Final = Resource("autoscaling", "v2", "horizontalpodautoscalers")
PODS: Final = Resource("", "v1", "pods")
EVENTS: Final = Resource("", "v1", "events")
CONFIG_MAPS: Final = Resource("", "v1", "configmaps")
