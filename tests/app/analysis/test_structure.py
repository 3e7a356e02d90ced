"""Blocks and neighbours, of networks that were made up."""

import pytest

from app.analysis import structure
from app.analysis.structure import block, collapsed
from tests.app.parsing import on_files, parsed

layers_of, levels = on_files(structure.layers_of), on_files(structure.levels)
neighborhood = on_files(structure.neighborhood)


@pytest.mark.parametrize(
    ("path", "depth", "name"),
    [
        ("stage1_block2_conv1/relu", 1, "stage1"),
        ("stage1_block2_conv1/relu", 2, "stage1_block2"),
        ("stage1_block2_conv1/relu", 4, "stage1_block2_conv1/relu"),
        ("encoder/layer_1/query", 1, "encoder"),
        ("encoder/layer_1/query", 3, "encoder/layer_1"),
        ("dense", 1, "dense"),
        ("dense", 3, "dense"),
    ],
)
def test_blocks_are_the_first_parts_of_a_path(path, depth, name):
    assert block(path, depth) == name


def test_levels_are_those_that_make_the_network_smaller(build_result):
    calls = build_result(15)["calls"]  # block0/conv, block0/conv/relu, block0/dropout, …
    assert levels(calls) == {0: 15, 2: 12, 1: 3}
    assert levels(calls[:1]) == {0: 1}


def test_a_block_can_be_unfolded_among_others(build_result):
    small = collapsed(parsed(build_result(15)), 1, ["block1"]).calls
    assert len(small) == 7
    assert [call.path for call in small][:2] == ["block0", "block1/conv"]
    assert [call.inputs for call in small] == [(), (0,), (1,), (2,), (3,), (4,), (5,)]


def test_a_collapsed_block_has_the_last_calls_figures(build_result):
    result = parsed(build_result(15, unsupported=(7,), opaque=None))
    small = collapsed(result, 1).calls
    assert [call.path for call in small] == ["block0", "block1", "block2"]
    assert small[1].of("default") == result.calls[9].of("default")
    assert small[1].weighted
    assert small[1].class_name == "5 layers, to Add"
    assert [call.support for call in small] == ["approximate", "pass_through", "approximate"]
    assert [call.tainted for call in small] == [False, True, True]
    assert [call.inputs for call in small] == [(), (0,), (1,)]
    assert collapsed(result, 0) is result
    assert len(result.calls) == 15


def call(index, inputs):
    return {
        "index": index,
        "path": str(index),
        "class": "Dense",
        "weighted": True,
        "support": "exact",
        "tainted": False,
        "inputs": inputs,
    }


def diamond():
    """0 → 1 → 3, 0 → 2 → 3 → 4."""
    inputs = {0: [], 1: [0], 2: [0], 3: [1, 2], 4: [3]}
    return [call(index, read) for index, read in inputs.items()]


def test_neighbours_are_the_nearest_calls():
    assert neighborhood(diamond(), 4, most=2) == [3, 4]
    assert neighborhood(diamond(), 1, most=3) == [0, 1, 3]
    assert neighborhood(diamond(), 0) == [0, 1, 2, 3, 4]


def test_what_reads_nothing_in_sight_stands_before_its_reader():
    calls = [*diamond(), call(5, [99]), call(6, [4, 5])]
    assert layers_of(calls)[5] == (3, 1)


def test_branches_lie_in_lanes_of_one_column():
    assert layers_of(diamond()) == {0: (0, 0), 1: (1, 0), 2: (1, 1), 3: (2, 0), 4: (3, 0)}
