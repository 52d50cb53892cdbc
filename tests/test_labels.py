"""Tables of labels from anywhere: read, with what is wrong by row, or refused."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DatasetError
from rmfn.labels import find_repeats, read_labels
from rmfn.targets import Target


def test_a_number_off_its_scale_is_a_problem_of_its_row(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("video,mood,happy,tone\na,9,2,good\nb,-3,1,bad\nc,,0,good\nd,-3.1,,bad\n")
    targets = (Target("mood"), Target("happy", "binary"), Target("tone", low=0, high=1))
    assert read_labels(path).problems == ()
    assert read_labels(path, targets=targets).problems == (
        (2, "expected -3 to 3 as mood, found '9'"),
        (2, "expected 0 or 1 as happy, found '2'"),
        (5, "expected -3 to 3 as mood, found '-3.1'"),
    )


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.csv: no such file; expected a table of labels"):
        read_labels(tmp_path / "none.csv")


CELLS = ("", "0", "1.5", "-1", "nan", "inf", "1e999", "1,5", "a.mp4", "b", "train", "dev", "ann",
         '"', "x\ny", "\u0661", "_1", "1_0", "\x00", " ", "\ufeff")  # fmt: skip
cells = st.one_of(st.sampled_from(CELLS), st.text(max_size=4))
HEADS = ("video,start,end,mood", "video;mood;speaker;split", "video\tmood\tid", "video,mood", "")


@given(
    st.sampled_from(HEADS),
    st.lists(st.lists(cells, max_size=6), max_size=6),
    st.sampled_from((",", ";", "\t")),
    st.booleans(),
)
@settings(max_examples=300)
def test_whatever_a_label_file_holds_it_is_read_or_refused(
    tmp_path_factory, head, table, mark, quoted
):
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    lines = [mark.join(f'"{cell}"' if quoted else cell for cell in row) for row in table]
    path.write_bytes("\n".join([head, *lines]).encode("utf-8", "ignore"))
    try:
        read = read_labels(path)
    except DatasetError:
        with pytest.raises(DatasetError, match=re.escape(str(path))):
            read_labels(path)
        return
    wrong = {number for number, _ in read.problems}
    for row in read.rows:
        assert row.start is None or 0 <= row.start < math.inf
        assert row.end is None or row.end < math.inf
        assert row.start is None or row.end is None or row.start < row.end
        assert row.number in wrong or (row.video and not all(map(math.isnan, row.labels.values())))
    find_repeats(read.rows, [row.video for row in read.rows])
