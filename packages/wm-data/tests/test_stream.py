"""A stream gives what the table of the same split gives."""

import pytest

import wm_data


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_stream_is_the_table_some_examples_at_a_time(demo: wm_data.Dataset, size: int) -> None:
    table, stream = demo.examples("train"), demo.stream("train")
    assert (len(stream), stream.column_names) == (len(table), table.column_names)
    batches = list(stream.iter(size))
    assert {len(batch["id"]) for batch in batches[:-1]} <= {size}
    assert {n: [v for b in batches for v in b[n]] for n in batches[0]} == table[:]


def test_one_example_after_another(demo: wm_data.Dataset) -> None:
    assert list(demo.stream("test")) == list(demo.examples("test"))


def test_columns_alone_are_read(demo: wm_data.Dataset) -> None:
    names = ["group", "task"]
    whole, some = demo.examples("train"), demo.examples("train", names)
    assert some[:] == whole.select_columns(names)[:]
    assert some.data.nbytes < whole.data.nbytes / 4
    assert some._fingerprint != whole._fingerprint
    assert len(some._fingerprint) <= 64  # datasets refuses a longer one


def test_a_split_that_is_not_there_is_named(demo: wm_data.Dataset) -> None:
    with pytest.raises(wm_data.WmDataError, match="has no split 'night'; it has "):
        demo.stream("night")
