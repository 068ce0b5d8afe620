"""The trace as a `networkx.MultiDiGraph`: timeline, calls, values, hooks, gradients, autograd.

Every node and edge has the attribute ``kind``; every node also has ``label``.  Attribute values
are plain (str, int, float, bool), never None and never empty: what is unknown is left out.  So
networkx's own writers take the graph, and it reads back equal.

Nodes, by kind:

==================  ============================  ==================================================
kind                id                            further attributes
==================  ============================  ==================================================
``pre_hook``        ``event:<seq>``               ``seq``, ``time_ns``, ``duration_ns``, ``thread``,
``forward``                                       ``hook_kind``, ``owner``, ``changed``,
``forward_hook``                                  ``exception``, ``module``, ``finished``
``backward_hook``
``other_hook``
``call``            ``call:<id>``                 ``module``, ``type``, ``index``, ``depth``,
                                                  ``time_ns``, ``duration_ns``, ``exception``
``module``          ``module:<id>``               ``type``, ``config``, ``parameters``
``hook``            ``hook:<id>``                 ``hook_kind``, ``owner``, ``fired``,
                                                  ``defined_at``, ``registered_at``,
                                                  ``feature``
``tensor``          ``tensor:<id>``               ``leaf``, ``parameter``
``value``           ``value:t<id>.<version>``     ``tensor``, ``version``, ``shape``, ``dtype``,
                                                  ``device``, ``numbers``
``gradient``        like ``value``                like ``value``
``autograd``        ``autograd:<id>``             ``function``
==================  ============================  ==================================================

Edges, by kind:

==================  ===================================  ===========================================
kind                from -> to                           further attributes
==================  ===================================  ===========================================
``then``            event -> the next event
``of``              event -> the call it belongs to
``fires``           hook -> the event of its firing
``sees``            value -> the hook event that got it  ``role``
``contains``        call -> a call inside it
``calls``           call -> its module
``consumes``        value -> call that took it           ``role``
``produces``        call -> value it returned            ``role``
``writes``          value -> what overwrote it in place  ``seq``, ``certain``, ``by``
``edit``            value -> what a hook made of it      ``seq``, ``how``, ``text``, ``factor``,
                                                         ``role``, ``hook``
``watches``         hook -> module, tensor or node
``version_of``      value -> tensor
``grad_output``     gradient -> call                     ``seq``, ``time_ns``, ``backward``,
                                                         ``role``
``grad_input``      call -> gradient                     ``seq``, ``time_ns``, ``backward``,
                                                         ``role``
``received``        gradient -> autograd node            ``seq``, ``time_ns``, ``backward``
``gradient_of``     gradient -> tensor                   ``seq``, ``time_ns``, ``backward``, ``how``
``accumulates``     gradient -> what ``.grad`` then was  ``seq``, ``time_ns``, ``backward``
``next``            autograd node -> where its gradient  ``edge``, ``input``
                    goes
``belongs_to``      autograd node -> call that made it
``made_by``         value -> autograd node               ``output``
``fills``           autograd node -> leaf tensor
==================  ===================================  ===========================================

``seq`` is the place in the trace.  The events with ``then`` edges are the pre-hooks, forwards,
forward hooks, backward hooks (whatever is given gradients) and other hooks (of saving and loading,
registration, optimizers, saved tensors) in order of ``seq``; a hook takes its place when it
returns, a forward when it starts.
"""

from __future__ import annotations

from typing import Any

import networkx as nx

from hooktrace.errors import UnknownNameError, nearest
from hooktrace.log import EventLog
from hooktrace.views.calls import CallIndex
from hooktrace.views.graph_parts import Builder

__all__ = ["SUBVIEWS", "graph"]

EVENT_KINDS = frozenset({"pre_hook", "forward", "forward_hook", "backward_hook", "other_hook"})

#: name of the sub-view: kinds of its edges
SUBVIEWS: dict[str, frozenset[str]] = {
    "timeline": frozenset({"then"}),
    "dataflow": frozenset({"consumes", "produces", "writes", "edit", "contains"}),
    "gradients": frozenset(
        {
            "grad_output", "grad_input", "received", "gradient_of", "accumulates", "edit", "next",
            "belongs_to", "fills",
        }
    ),
    "hooks": frozenset({"fires", "watches", "sees", "edit"}),
}  # fmt: skip

_NODES = {
    "timeline": EVENT_KINDS,
    "dataflow": frozenset({"call", "value"}),
    "gradients": frozenset({"gradient", "autograd"}),
    "hooks": frozenset({"hook"}),
}


def graph(log: EventLog, calls: CallIndex, view: str = "all") -> nx.MultiDiGraph:
    """Build the graph of a trace, or one of its ready sub-views.

    Args:
        log: The trace.
        calls: Its calls.
        view: ``"all"``, ``"timeline"``, ``"dataflow"``, ``"gradients"`` or ``"hooks"``.

    Returns:
        A new graph, which is yours to change.

    Raises:
        UnknownNameError: There is no such view; the message names the nearest.
    """
    if view != "all" and view not in SUBVIEWS:
        known = ["all", *SUBVIEWS]
        raise UnknownNameError(
            f"There is no view {view!r} of the graph.{nearest(view, known)} "
            f"The views are {', '.join(known)}."
        )
    whole = Builder(log, calls).build()
    return whole if view == "all" else _part(whole, SUBVIEWS[view], _NODES[view], view)


def _part(
    whole: nx.MultiDiGraph, edges: frozenset[str], nodes: frozenset[str], view: str
) -> nx.MultiDiGraph:
    """Copy the edges of some kinds with their ends, and all nodes of some kinds."""
    part = nx.MultiDiGraph(**{**whole.graph, "view": view})
    chosen = [edge for edge in whole.edges(data=True) if edge[2]["kind"] in edges]
    if view in ("dataflow", "gradients"):  # an edit of a gradient is no flow of data
        chosen = [edge for edge in chosen if edge[2]["kind"] != "edit" or _fits(whole, edge, view)]
    ends = {end for edge in chosen for end in edge[:2]}
    part.add_nodes_from(
        (name, dict(data))
        for name, data in whole.nodes(data=True)
        if name in ends or data["kind"] in nodes
    )
    part.add_edges_from((tail, head, dict(data)) for tail, head, data in chosen)
    return part


def _fits(whole: nx.MultiDiGraph, edge: tuple[str, str, dict[str, Any]], view: str) -> bool:
    return bool((whole.nodes[edge[0]]["kind"] == "gradient") == (view == "gradients"))
