"""The queries of `deploy/`, and what each needs of the metrics that a gateway has shown.

`promql-parser` reads a query as Prometheus does: its syntax, functions and types. It runs nothing: whether a query
gives the figure that its title promises, only a reader or a Prometheus can say.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import yaml
from prometheus_client.parser import text_string_to_metric_families

DEPLOY = Path(__file__).parents[1] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "video-gateway.json"
OF_PROMETHEUS = {"instance", "job"}  # the labels that a scrape adds
_VARIABLES = {"$__rate_interval": "5m", "$__range": "6h", "$instance": ".*", "$provider": ".*"}  # of Grafana
_SHOWN = re.compile(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}")

Exposed = Mapping[str, Sequence[Mapping[str, str]]]  # by the name of a series: the labels of each


class Query(NamedTuple):
    """A query, where it is, and the labels that texts about its result show."""

    place: str
    text: str
    shown: frozenset[str] = frozenset()


def alerts() -> list[dict[str, Any]]:
    """The rules of the alerts."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def queries() -> Iterator[Query]:
    """Every query of the alerts and of the dashboard, with the variables of Grafana replaced."""
    for rule in alerts():
        shown = frozenset(_SHOWN.findall(" ".join(rule["annotations"].values())))
        yield Query(rule["alert"], rule["expr"], shown)
    board = json.loads(DASHBOARD.read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"]
            for name, value in _VARIABLES.items():
                text = text.replace(name, value)
            yield Query(panel["title"], text, frozenset(_SHOWN.findall(target["legendFormat"])))
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]  # a failure here names the variable
            yield Query(f"${variable['name']}", f"sum by ({label}) ({metric})")


def exposed(text: str) -> Exposed:
    """What a scrape has shown. `up` is Prometheus' own."""
    series: dict[str, list[Mapping[str, str]]] = {"up": [{}]}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, []).append(sample.labels)
    return series


def problems(query: Query, series: Exposed) -> Iterator[str]:
    """What the query asks for and the gateway does not have. Raises `ValueError` if it is not PromQL."""
    root = promql_parser.parse(query.text)
    nodes = _nodes(root)
    selectors = [node for node in nodes if isinstance(node, promql_parser.VectorSelector)]
    for selector in selectors:
        if selector.name not in series:
            yield f"{query.place}: no metric {selector.name}"
            continue
        yield from (f"{query.place}: {selector.name} has {fault}" for fault in _unmatched(selector, series))
    exposed_labels = {label for selector in selectors for label in _labels(selector, series)}
    grouped = {label for node in nodes if isinstance(node, promql_parser.AggregateExpr) for label in _grouping(node)}
    yield from (f"{query.place}: no series has the label {label}" for label in sorted(grouped - exposed_labels))
    left = grouped or exposed_labels
    yield from (f"{query.place}: shows {{{label}}}, which its result lacks" for label in sorted(query.shown - left))


def names(query: Query) -> set[str]:
    """The series that a query reads."""
    return {
        node.name
        for node in _nodes(promql_parser.parse(query.text))
        if isinstance(node, promql_parser.VectorSelector) and node.name.startswith("video_gateway_")
    } - {"video_gateway_build_info"}


def family(name: str) -> str:
    """The metric that a series belongs to: a histogram has several."""
    return re.sub(r"_(?:bucket|sum|count)$", "", name)


def _nodes(root: Any) -> list[Any]:
    nodes: list[Any] = []
    promql_parser.walk(root, nodes.append)
    return nodes


def _unmatched(selector: Any, series: Exposed) -> Iterator[str]:
    samples = series[selector.name]
    for matcher in selector.matchers.matchers:
        if matcher.name in OF_PROMETHEUS:
            continue
        values = {labels[matcher.name] for labels in samples if matcher.name in labels}
        if not values:
            yield f"no label {matcher.name}"
        elif matcher.op in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.NotEqual):  # they have no hash
            if matcher.value not in values:
                yield f"no {matcher.name} {matcher.value!r}, only {sorted(values)}"
        elif matcher.op == promql_parser.MatchOp.Re and not any(re.fullmatch(matcher.value, value) for value in values):
            yield f"no {matcher.name} that matches {matcher.value!r}, only {sorted(values)}"


def _labels(selector: Any, series: Exposed) -> set[str]:
    return OF_PROMETHEUS.union(*series.get(selector.name, ()))


def _grouping(node: Any) -> list[str]:
    return [] if node.modifier is None else list(node.modifier.labels)
