"""``rmfn serve`` killed in the middle of requests of which some are bad: none is lost."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.serve_load import run_load

pytestmark = pytest.mark.slow

REASONS = {
    "no such file": "nothing.mp4: no such file",
    "broken media": "broken.mp4: ",
    "outside of the root": "parameter path: /etc/passwd is outside of the folders",
}


def test_every_request_ends_though_the_server_is_killed(tmp_path):
    load = run_load(tmp_path, requests=6, at_once=4, kill_after=1, bad=2)
    assert load.ended.keys() == load.asked.keys()
    for run, asked in load.asked.items():
        state, reason = load.ended[run]
        if asked == "a clip":
            assert state == "Completed", reason
        else:
            assert state == "Failed"
            assert REASONS[asked] in reason
    assert Counter(load.asked.values()) == {"a clip": 3, **dict.fromkeys(REASONS, 1)}
    assert load.cut_off  # some were at work when it was killed, and ended well or with a reason
    assert not load.left
    assert not list((tmp_path / "tmp").glob("rmfn-*"))
