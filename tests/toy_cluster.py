"""A Dask cluster of two worker processes on this machine, with the backends of `tests.toy_batch`.

``python -m tests.toy_cluster`` says the scheduler's address and stays until its input ends.
"""

from __future__ import annotations

import sys

import tests.toy_batch  # noqa: F401 (workers import this module anew, and with it the toys)

if __name__ == "__main__":
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
