"""The form of the objects that are installed in Kibana."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import pytest

from runner.settings.settings import alerts_name
from runner.setup.mappings import alert_mappings, external_mappings, run_mappings
from runner.setup.saved_objects import VERSION, KibanaNames, ndjson, saved_objects, version_of

WAYS = ("own", "external", "security")
COLUMNS, RECORDS = 48, "___records___"


def names(way: str = "own", space: str = "soc") -> KibanaNames:
    return KibanaNames(space=space, alerts=alerts_name(way, space), runs=f"rule-runner-runs-{space}", alerts_as=way)


def objects_of(way: str) -> dict[str, dict[str, Any]]:
    return {item["id"]: item for item in saved_objects(names(way))}


def dashboard_of(way: str) -> dict[str, Any]:
    return objects_of(way)[names(way).dashboard]


def panels_of(way: str) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(dashboard_of(way)["attributes"]["panelsJSON"])
    return panels


def lens_layers(way: str) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    """Every Lens panel with its one layer and the id of its data view."""
    for panel in panels_of(way):
        if panel["type"] == "lens":
            attributes = panel["embeddableConfig"]["attributes"]
            ((name, layer),) = attributes["state"]["datasourceStates"]["formBased"]["layers"].items()
            (reference,) = attributes["references"]
            assert reference["name"] == f"indexpattern-datasource-layer-{name}"
            yield panel, layer, reference["id"]


def fields_of(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in mapping["properties"].items():
        if "properties" in field:
            yield from fields_of(field, f"{prefix}{name}.")
        else:
            yield prefix + name, field.get("type", "object")


def mapped_in(way: str, view: str) -> dict[str, str]:
    """The fields of a data view, by the template of what it shows."""
    if view == names(way).runs_view:
        return dict(fields_of(run_mappings()))
    return dict(fields_of(external_mappings() if way == "external" else alert_mappings()))


def fields_asked(query: str) -> set[str]:
    """The fields of a KQL query as simple as ours are."""
    return set(re.findall(r"([\w.@]+)\s*:", query))


@pytest.mark.parametrize("way", WAYS)
def test_they_are_ndjson_of_objects_that_can_be_imported(way: str) -> None:
    lines = ndjson(saved_objects(names(way))).splitlines()
    items = [json.loads(line) for line in lines]
    assert [item["type"] for item in items] == ["index-pattern", "index-pattern", "search", "dashboard"]
    for item in items:
        assert set(item) == {"type", "id", "coreMigrationVersion", "typeMigrationVersion", "attributes", "references"}
        assert item["coreMigrationVersion"] == "8.8.0"
        assert tuple(map(int, item["typeMigrationVersion"].split("."))) <= (8, 9, 0)
    assert b"{{" not in b"".join(lines)


def test_the_same_names_give_the_same_bytes() -> None:
    assert ndjson(saved_objects(names())) == ndjson(saved_objects(names()))


def test_ids_are_apart_by_space_and_way_and_fixed() -> None:
    ids = [item["id"] for way in WAYS for item in saved_objects(names(way, "soc"))]
    assert len(set(ids)) == 1 + 3 * len(WAYS)  # the data view of the runs is one
    assert ids[:4] == ["rule-runner-soc-own-alerts", "rule-runner-soc-runs", "rule-runner-soc-own-search", ids[3]]
    assert not set(ids) & {item["id"] for item in saved_objects(names("own", "other"))}


@pytest.mark.parametrize("way", WAYS)
def test_every_reference_leads_to_an_object_of_ours(way: str) -> None:
    objects = objects_of(way)
    for item in objects.values():
        assert len({reference["name"] for reference in item["references"]}) == len(item["references"])
        for reference in item["references"]:
            assert objects[reference["id"]]["type"] == reference["type"]


@pytest.mark.parametrize("way", WAYS)
def test_the_dashboard_lists_the_references_of_its_panels(way: str) -> None:
    expected = set()
    for panel in panels_of(way):
        place = panel["panelIndex"]
        if panel["type"] == "search":
            assert panel["panelRefName"] == f"panel_{place}"
            expected.add((f"{place}:panel_{place}", "search", names(way).search))
        else:
            inner = panel["embeddableConfig"]["attributes"]["references"]
            expected |= {(f"{place}:{found['name']}", found["type"], found["id"]) for found in inner}
    listed = dashboard_of(way)["references"]
    assert {(found["name"], found["type"], found["id"]) for found in listed} == expected


@pytest.mark.parametrize("way", WAYS)
def test_every_field_that_a_panel_uses_is_mapped_with_a_fitting_type(way: str) -> None:
    numbers = {"long", "integer", "float", "double"}
    fitting = {
        "date_histogram": {"date"},
        "terms": {"keyword"},
        "unique_count": {"keyword", "long", "ip", "date"},
        "max": numbers | {"date"},
        "sum": numbers,
        "average": numbers,
        "median": numbers,
        "percentile": numbers,
    }
    for panel, layer, view in lens_layers(way):
        mapped = mapped_in(way, view)
        for column in layer["columns"].values():
            if column["sourceField"] != RECORDS:
                assert mapped[column["sourceField"]] in fitting[column["operationType"]], panel["title"]
                is_date = mapped[column["sourceField"]] == "date"
                assert is_date is (column["dataType"] == "date") or column["operationType"] == "unique_count"
            asked = fields_asked(column.get("filter", {}).get("query", ""))
            assert asked <= mapped.keys()
        assert fields_asked(panel["embeddableConfig"]["attributes"]["state"]["query"]["query"]) <= mapped.keys()


@pytest.mark.parametrize("way", WAYS)
def test_every_column_that_a_panel_shows_is_one_of_its_layer(way: str) -> None:
    for panel, layer, _ in lens_layers(way):
        columns = layer["columns"]
        assert sorted(layer["columnOrder"]) == sorted(columns)
        buckets = [columns[name]["isBucketed"] for name in layer["columnOrder"]]
        assert buckets == sorted(buckets, reverse=True), "Lens wants buckets before metrics"
        for column in columns.values():
            order = column.get("params", {}).get("orderBy")
            assert order is None or not columns[order["columnId"]]["isBucketed"]
        shown = panel["embeddableConfig"]["attributes"]["state"]["visualization"]
        match panel["embeddableConfig"]["attributes"]["visualizationType"]:
            case "lnsMetric":
                used = {shown["metricAccessor"]}
            case "lnsDatatable":
                used = {entry["columnId"] for entry in shown["columns"]}
            case "lnsXY":
                (part,) = shown["layers"]
                used = {part["xAccessor"], *part["accessors"]} | {
                    part[key] for key in ("splitAccessor",) if key in part
                }
            case other:
                pytest.fail(f"{other} is not one of the kinds that are used here")
        assert used == set(columns)


@pytest.mark.parametrize("way", WAYS)
def test_panels_lie_side_by_side_within_the_grid(way: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels_of(way):
        grid = panel["gridData"]
        assert grid["i"] == panel["panelIndex"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert max(x for x, _ in cells) < COLUMNS
        assert not cells & taken
        taken |= cells
    lowest = max(y for _, y in taken)
    assert len(taken) == COLUMNS * (lowest + 1), "no holes"


@pytest.mark.parametrize("way", WAYS)
def test_the_saved_search_shows_mapped_fields_of_its_data_view(way: str) -> None:
    found = objects_of(way)[names(way).search]
    mapped = mapped_in(way, names(way).alerts_view)
    source = json.loads(found["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    (reference,) = found["references"]
    assert source["indexRefName"] == reference["name"]
    assert reference["id"] == names(way).alerts_view
    assert set(found["attributes"]["columns"]) | fields_asked(source["query"]["query"]) <= mapped.keys()
    assert found["attributes"]["sort"] == [["@timestamp", "desc"]]


@pytest.mark.parametrize("way", WAYS)
def test_the_data_views_show_what_is_written(way: str) -> None:
    objects = objects_of(way)
    shown = {id_: item["attributes"]["title"] for id_, item in objects.items() if item["type"] == "index-pattern"}
    assert shown == {names(way).alerts_view: alerts_name(way, "soc"), names(way).runs_view: "rule-runner-runs-soc"}
    for id_ in shown:
        attributes = objects[id_]["attributes"]
        assert attributes["timeFieldName"] == "@timestamp"
        assert set(json.loads(attributes["fieldFormatMap"])) <= mapped_in(way, id_).keys()


def test_what_can_carry_it_carries_the_version() -> None:
    for item in saved_objects(names()):
        assert version_of(item) == (None if item["type"] == "index-pattern" else VERSION)


def test_the_files_are_all_used() -> None:
    folder = files("runner.setup")
    found = sorted(item.name for item in folder.iterdir() if item.name.endswith(".json"))
    assert found == [
        "alert_fields.json",
        "alerts_data_view.json",
        "alerts_search.json",
        "dashboard.json",
        "ecs_fields.json",
        "run_fields.json",
        "runs_data_view.json",
        "state_fields.json",
    ]
