"""Drawings of graphs, as text and as pictures."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bigpipe.streaming import Graph, Stages, parallel

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def loop() -> Graph:
    graph = Graph()
    graph.source("values", [1], gives="new")
    graph.merge("enter", ["new", "again"], gives="x")
    graph.step("work <&>", abs, takes="x", gives="y", copies=3)
    graph.switch("done", abs, takes="y", gives={1: "out", 2: "again"})
    graph.begin("again", 5)
    graph.output("out")
    return graph


def test_row_is_drawn_on_one_line():
    stages = Stages([[1], abs, parallel(str, 2)])
    assert stages.diagram() == "source --> abs --> str x2 --> (output)"
    assert (
        stages.diagram(streams=True) == "source --source--> abs --abs--> str x2 --str--> (output)"
    )


def test_graph_is_drawn_arrow_by_arrow(loop):
    assert loop.diagram().splitlines() == [
        "values      --new--> enter",
        "enter       --x--> work <&> x3",
        "work <&> x3 --y--> done",
        "done        --out--> (output)",
        "            --again (from 1)--> enter",
    ]
    assert "again" not in loop.diagram(streams=False)


def texts_of(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_picture_shows_each_stage_and_stream_once(loop):
    texts = texts_of(loop.diagram("svg"))
    stages = {"values", "enter", "work <&> x3", "done", "(output)"}
    assert set(texts) == stages | {"new", "x", "y", "out", "again (from 1)"}
    assert len(texts) == 10
    assert "x" not in texts_of(loop.diagram("svg", streams=False))


def test_picture_has_no_box_upon_another_and_none_outside(loop):
    root = ElementTree.fromstring(loop.diagram("svg"))
    _, _, width, height = map(float, root.get("viewBox").split())
    boxes = [
        tuple(float(box.get(name)) for name in ("x", "y", "width", "height"))
        for box in root.iter(f"{SVG}rect")
    ]
    for number, (x, y, w, h) in enumerate(boxes):
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
        for x2, y2, w2, h2 in boxes[:number]:
            assert x2 + w2 <= x or x + w <= x2 or y2 + h2 <= y or y + h <= y2


def test_what_leads_back_is_dashed(loop):
    root = ElementTree.fromstring(loop.diagram("svg"))
    dashed = [path for path in root.iter(f"{SVG}path") if path.get("stroke-dasharray")]
    assert len(dashed) == 1


def test_graph_is_drawn_before_it_can_run():
    graph = Graph()
    assert graph.diagram() == ""
    graph.source("numbers", range(3), gives="n")
    assert "numbers" in graph.diagram()
    assert texts_of(graph.diagram("svg")) == ["numbers"]
