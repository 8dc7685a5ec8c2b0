"""The position of a process in its job, from environment variables."""

from __future__ import annotations

import pytest

from nasfpn_runtime.cluster.modelarts.nodes import Node, this_node
from nasfpn_runtime.errors import DeviceError


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Node(None, 0, 1, None)),
        # scripts/run_distribute_train.sh of the model zoo
        ({"RANK_ID": "3", "RANK_SIZE": "8"}, Node(3, 0, 1, None)),
        # msrun
        ({"RANK_ID": "0", "MS_WORKER_NUM": "2"}, Node(0, 0, 1, None)),
        # ModelArts: the second of two servers, and a training process on it
        (
            {
                "VC_TASK_INDEX": "1",
                "MA_NUM_HOSTS": "2",
                "VC_WORKER_HOSTS": "job-worker-0.job,job-worker-1.job",
            },
            Node(None, 1, 2, "job-worker-0.job"),
        ),
        (
            {"RANK_ID": "8", "RANK_SIZE": "16", "VC_TASK_INDEX": "1", "MA_NUM_HOSTS": "2"},
            Node(8, 1, 2, None),
        ),
        # another cluster with Volcano, whose variables do not concern this job
        ({"VC_TASK_INDEX": "1", "VC_WORKER_NUM": "4"}, Node(None, 0, 1, None)),
        # ModelArts: one server
        (
            {"VC_TASK_INDEX": "0", "MA_NUM_HOSTS": "1", "VC_WORKER_HOSTS": "job-worker-0.job"},
            Node(None, 0, 1, None),
        ),
    ],
)
def test_a_node_is_read_from_the_variables(environ: dict[str, str], expected: Node) -> None:
    assert this_node(environ) == expected


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RANK_ID": "-1"}, r"^RANK_ID .*, got '-1'$"),
        ({"RANK_ID": "8", "RANK_SIZE": "8"}, r"^RANK_ID .*below 8, .* got 8$"),
        ({"VC_TASK_INDEX": "2", "MA_NUM_HOSTS": "2"}, r"^VC_TASK_INDEX .*below 2, .* got 2$"),
    ],
)
def test_an_impossible_rank_is_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        this_node(environ)
