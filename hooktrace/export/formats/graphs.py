"""The graph of a trace for networkx, Gephi, yEd and Cytoscape."""

from __future__ import annotations

import json
import re
from typing import Any

from hooktrace.export.exporter import exporter
from hooktrace.export.rows import plain
from hooktrace.log import EventLog
from hooktrace.views.calls import CallIndex

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # by XML 1.0


@exporter("graphml", ".graphml")
def to_graphml(log: EventLog, calls: CallIndex, *, view: str = "all") -> str:
    """The graph as GraphML.

    Args:
        view: Which part: all, timeline, dataflow, gradients or hooks.
    """
    import networkx

    from hooktrace.views.graph import graph

    whole = graph(log, calls, view)
    for _, attributes in whole.nodes(data=True):
        _clean(attributes)
    for *_, attributes in whole.edges(data=True):
        _clean(attributes)
    _clean(whole.graph)
    head = "<?xml version='1.0' encoding='utf-8'?>\n"
    return head + "\n".join(networkx.generate_graphml(whole)) + "\n"


@exporter("networkx", ".graph.json")
def to_node_link(log: EventLog, calls: CallIndex, *, view: str = "all") -> str:
    """The graph as JSON, which networkx.node_link_graph(data, edges="edges") reads.

    Args:
        view: Which part, as for graphml.
    """
    from hooktrace.views.graph import graph

    whole = graph(log, calls, view)
    content = {
        "directed": True,
        "multigraph": True,
        "graph": plain(whole.graph),
        "nodes": [{**plain(data), "id": name} for name, data in whole.nodes(data=True)],
        "edges": [
            {**plain(data), "source": tail, "target": head, "key": key}
            for tail, head, key, data in whole.edges(keys=True, data=True)
        ],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _clean(attributes: dict[str, Any]) -> None:
    """Replace characters that cannot be in XML: names can hold anything."""
    for name, value in attributes.items():
        if isinstance(value, str):
            attributes[name] = _FORBIDDEN.sub("\ufffd", value)
