"""Long tables in many files, packed, far away, with other delimiters or of another shape: one table, or one line."""

from __future__ import annotations

import bz2
import functools
import gzip
import http.server
import json
import lzma
import shlex
import sys
import threading
import types

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from erp import cli
from erp.errors import ErpError
from erp.table.read import read_table

ROWS = pd.DataFrame(
    {
        "prompt_id": ["007", "007", "b", "b", "c", "c"],
        "prompt": ["What is 2+2?", "What is 2+2?", "Say; hello", "Say; hello", "Grüße, Welt", "Grüße, Welt"],
        "model": ["small", "large"] * 3,
        "reward": [0.25, 1.0, 0.5, -2.0, 0.125, 3.0],
        "completion_tokens": [7, 9, 11, 13, 15, 17],
    }
)


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


def content(frame: pd.DataFrame, ending: str) -> bytes:
    records = json.loads(frame.to_json(orient="records"))
    if ending in (".jsonl", ".ndjson"):
        return "".join(json.dumps(record) + "\n" for record in records).encode()
    if ending == ".json":
        return json.dumps(records, indent=1).encode()
    if ending == ".parquet":
        return frame.to_parquet()
    return frame.to_csv(index=False, sep="\t" if ending == ".tsv" else ",").encode()


def fault(path, **options) -> str:
    with pytest.raises(ErpError) as caught:
        read_table(str(path), **options)
    (line,) = caught.value.faults
    assert "\n" not in line
    return line


@pytest.fixture
def whole(tmp_path):
    (tmp_path / "whole").mkdir()
    path = tmp_path / "whole" / "t.parquet"
    ROWS.to_parquet(path)
    return read_table(path).fingerprint()


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json", ".csv", ".tsv"])
def test_every_kind_of_file_packed_or_not(tmp_path, whole, ending, packed):
    path = tmp_path / f"t{ending}{packed}"
    path.write_bytes(PACK[packed](content(ROWS, ending)))
    assert read_table(path).fingerprint() == whole


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".jsonl.gz", ".json", ".csv", ".csv.zst"])
@pytest.mark.parametrize("form", ["", "*", "part-[0-9]*", "p?rt-*"])
def test_a_folder_and_a_pattern_are_one_table(tmp_path, whole, ending, form):
    """Files whose names begin with . or _, and those of no known kind, are passed over."""
    folder = tmp_path / "shards"
    folder.mkdir()
    plain, dot, pack = ending.partition(".")[2].partition(".")
    for i, start in enumerate(range(0, 6, 2)):
        raw = content(ROWS.iloc[start : start + 2], f".{plain}")
        (folder / f"part-{i}{ending}").write_bytes(PACK[dot + pack](raw))
    (folder / "_SUCCESS").touch()
    (folder / f"_metadata{ending}").write_text("no table")
    (folder / "README.md").write_text("no table")
    assert read_table(f"{folder}/{form}".rstrip("/")).fingerprint() == whole


def test_a_json_file_of_lines_and_lines_with_a_byte_order_mark(tmp_path, whole):
    (tmp_path / "t.json").write_bytes(content(ROWS, ".jsonl"))
    (tmp_path / "t.jsonl").write_bytes(b"\xef\xbb\xbf" + content(ROWS, ".jsonl"))
    (tmp_path / "array.jsonl").write_bytes(content(ROWS, ".json"))
    assert {read_table(tmp_path / name).fingerprint() for name in ("t.json", "t.jsonl", "array.jsonl")} == {whole}


def test_folders_that_name_a_column(tmp_path, whole):
    ROWS.to_parquet(tmp_path / "parts", partition_cols=["model"])
    assert read_table(tmp_path / "parts").fingerprint() == whole
    assert read_table(f"{tmp_path}/parts/model=*").fingerprint() == whole
    assert read_table(f"{tmp_path}/parts/*/*.parquet").fingerprint() == whole


def test_a_column_that_one_file_lacks_is_missing_there(tmp_path):
    ROWS.iloc[:2].to_parquet(tmp_path / "a.parquet")
    ROWS.iloc[2:].drop(columns="completion_tokens").to_parquet(tmp_path / "b.parquet")
    tokens = read_table(f"{tmp_path}/*.parquet").samples["completion_tokens"]
    assert sorted(tokens.dropna()) == [7, 9]
    assert tokens.isna().sum() == 4


def test_whole_numbers_beside_a_missing_one_stay_whole(tmp_path):
    big = 2**63 - 25
    frame = pa.table(
        {"prompt": ["a", "b"], "model": ["m", "m"], "reward": [0.5, 1.0], "group": pa.array([big, None], pa.int64())}
    )
    pa.parquet.write_table(frame, tmp_path / "t.parquet")
    assert set(read_table(tmp_path / "t.parquet").prompts["group"]) == {str(big), None}


def test_kinds_are_not_mixed_and_nothing_is_told(tmp_path):
    (tmp_path / "mixed").mkdir()
    ROWS.to_parquet(tmp_path / "mixed" / "a.parquet")
    ROWS.to_csv(tmp_path / "mixed" / "b.csv", index=False)
    assert f"holds csv and parquet files; name one kind with a pattern, e.g. '{tmp_path}/mixed/*.csv'" in fault(
        tmp_path / "mixed"
    )
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.md").touch()
    assert "holds no .parquet" in fault(tmp_path / "none")
    assert "holds no .parquet" in fault(f"{tmp_path}/none/*.parquet")
    assert "there is no such file or folder" in fault(tmp_path / "absent" / "t.parquet")
    (tmp_path / "other").mkdir()
    pd.DataFrame({"prompt": ["a"], "model": ["m"], "reward": ["x"]}).to_parquet(tmp_path / "other" / "a.parquet")
    pd.DataFrame({"prompt": ["a"], "model": ["m"], "reward": [[1.0]]}).to_parquet(tmp_path / "other" / "b.parquet")
    assert "files have columns of different types" in fault(tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "raw", "told"),
    [
        ("t.jsonl.gz", b"not packed", "cannot be read ("),
        ("t.jsonl.zst", b"not packed", "cannot be read ("),
        ("t.json", b'[\n{"prompt": "a", "model": "m", "reward": 1},\n', "is not a JSON array"),
        ("t.jsonl", b'{"prompt": "a", "model": "m", "reward": 1}\n{"prompt": "caf\xe9"}\n', "line 2 is not UTF-8"),
        ("t.jsonl", b'{"prompt": "a", "model": "m", "reward": 1}\n\n"text"\n', "line 3 is a str"),
    ],
)
def test_a_file_that_is_damaged_is_one_line(tmp_path, name, raw, told):
    (tmp_path / name).write_bytes(raw)
    line = fault(tmp_path / name)
    assert line.startswith(f"data.path = {tmp_path / name}: ")
    assert told in line


def test_a_line_at_fault_names_its_file(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(content(ROWS, ".jsonl"))
    (tmp_path / "b.jsonl").write_bytes(content(ROWS, ".jsonl") + b"{oops\n")
    assert "b.jsonl, line 7 is not JSON" in fault(tmp_path / "*.jsonl")


@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_another_delimiter_is_read_and_told(tmp_path, whole, sign):
    ROWS.to_csv(tmp_path / "t.csv", index=False, sep=sign)
    table = read_table(tmp_path / "t.csv")
    assert table.fingerprint() == whole
    assert any(f"separated by {sign!r}" in note for note in table.notes)
    renamed = ROWS.rename(columns={"prompt": "question", "model": "llm", "reward": "a, b"})
    renamed.to_csv(tmp_path / "r.csv", index=False, sep=sign)
    columns = {"prompt": "question", "model": "llm", "reward": "a, b"}
    assert read_table(tmp_path / "r.csv", columns=columns).fingerprint() == whole
    ROWS.to_csv(tmp_path / "comma.csv", index=False)
    assert not any("separated" in note for note in read_table(tmp_path / "comma.csv").notes)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_the_advice_for_a_wide_table_makes_a_long_one(tmp_path, ending):
    """What the line says is run as it stands."""
    wide = ROWS.pivot_table(index=["prompt_id", "prompt"], columns="model", values="reward").reset_index()
    path = tmp_path / f"wide{ending}"
    path.write_bytes(content(wide, ending))
    line = fault(path)
    assert "it looks wide: a row for each prompt and a column for each model (large, small)" in line
    program, *words = shlex.split(line[line.index("erp import ") : line.index(" makes one")])
    assert program == "erp"
    assert cli.main([*words, f"out={tmp_path / 'long'}"]) == 0
    table = read_table(tmp_path / "long")
    assert table.members == ("large", "small")
    assert table.samples["reward"].sum() == ROWS["reward"].sum()


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_a_column_that_is_there_twice_is_refused_by_name(tmp_path, ending):
    """pandas would read the first, call the second `score.1`, and say nothing. Columns that are not read may repeat."""
    path = tmp_path / f"t{ending}"

    def fill(name: str) -> None:
        header, cells = (
            [*ROWS.columns, name, name],
            [*(ROWS[column] for column in ROWS), ROWS["reward"], ROWS["reward"]],
        )
        if ending == ".csv":
            pd.concat(cells, axis=1).to_csv(path, index=False, header=header)
        else:
            pq.write_table(pa.Table.from_arrays([pa.array(cell) for cell in cells], names=header), path)

    fill("score")
    assert read_table(str(path)).members == ("large", "small")
    assert f"data.path = {path}: has two columns score" in fault(path, columns={"reward": "score"})
    fill("reward")
    assert f"data.path = {path}: has two columns reward" in fault(path)


@pytest.mark.parametrize("respelt", [str.upper, str.title, " {} ".format])
@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_names_in_other_letters_are_called_that_and_the_advice_reads_them(tmp_path, respelt, ending):
    """What the line says is run as it stands."""
    df = ROWS.rename(columns=respelt)
    path = tmp_path / f"t{ending}"
    path.write_bytes(content(df, ending))
    line = fault(path)
    assert "differ in case or white space alone" in line
    assert "wide" not in line
    exec(line[line.index("df.columns =") :], {"df": df})
    df.to_parquet(tmp_path / "renamed.parquet")
    ROWS.to_parquet(tmp_path / "ours.parquet")
    assert read_table(tmp_path / "renamed.parquet").fingerprint() == read_table(tmp_path / "ours.parquet").fingerprint()


def test_a_long_table_with_other_names_is_not_called_wide(tmp_path):
    ROWS.rename(columns={"model": "llm", "reward": "score"}).to_csv(tmp_path / "t.csv", index=False)
    assert "wide" not in fault(tmp_path / "t.csv")


@pytest.fixture
def address(tmp_path):
    """A web server over the folder, on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".json", ".csv"])
def test_an_address(tmp_path, whole, address, ending):
    """The server answers no ranges, as many do not."""
    (tmp_path / f"t{ending}").write_bytes(content(ROWS, ending))
    assert read_table(f"{address}/t{ending}").fingerprint() == whole
    assert read_table(f"{address}/t{ending}?download=true").fingerprint() == whole
    assert "cannot be read (" in fault(f"{address}/absent{ending}")


def test_a_named_configuration_of_a_dataset_of_the_hub(monkeypatch):
    asked = []

    class Data:
        column_names = list(ROWS)  # noqa: RUF012

        def select_columns(self, names):
            self.names = names
            return self

        def to_pandas(self):
            return ROWS[self.names]

    def load_dataset(*names, split):
        asked.append((*names, split))
        return Data()

    hub = types.SimpleNamespace(get_dataset_split_names=lambda *names: ["train"], load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", hub)
    assert len(read_table("hf://datasets/me/two", config_name="main").samples) == 6
    assert len(read_table("hf://datasets/me/two:test", config_name="main").samples) == 6
    assert asked == [("me/two", "main", "train"), ("me/two", "main", "test")]


def turns(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".json", ".csv"])
@pytest.mark.parametrize("column", ["messages", "prompt"])
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (None, {"second", "only"}),
        ("last_user", {"second", "only"}),
        ("first_user", {"first", "only"}),
        ("conversation", {"user: first\n\nassistant: said\n\nuser: second", "user: only"}),
    ],
)
def test_conversations_by_one_rule(tmp_path, ending, column, rule, expected):
    if (ending, column) == (".csv", "prompt"):
        pytest.skip("a text in the column prompt is a text")
    cells = [turns("first", "said", "second"), turns("only")]
    frame = pd.DataFrame({"model": ["m", "m"], "reward": [0.5, 1.0]})
    frame[column] = [json.dumps(cell) for cell in cells] if ending == ".csv" else cells
    (tmp_path / f"t{ending}").write_bytes(content(frame, ending))
    table = read_table(tmp_path / f"t{ending}", prompt_from=rule)
    assert set(table.prompts["prompt"]) == expected
    assert table.prompt_from == (rule or "last_user")


def test_a_conversation_without_a_user_names_its_row(tmp_path):
    frame = pd.DataFrame({"model": ["m", "m"], "reward": [0.5, 1.0]})
    frame["messages"] = [turns("a"), [{"role": "system", "content": "be brief"}]]
    frame.to_parquet(tmp_path / "t.parquet")
    assert "row 1, column messages: the conversation has no turn of the role user" in fault(tmp_path / "t.parquet")


@pytest.mark.parametrize("header", ['"a\nnote",{}\n', "\n{},more\n", '{},"",""\n'])
def test_a_header_of_several_lines_or_without_names(tmp_path, header):
    """Names were taken from the first line alone."""
    cells = ["x," if header.startswith('"') else "" for _ in range(4)]
    lines = "".join(f"{cell}p{i},m{i % 2},{i}\n" for i, cell in enumerate(cells))
    (tmp_path / "t.csv").write_text(header.format("prompt,model,reward") + lines)
    table = read_table(tmp_path / "t.csv")
    assert table.members == ("m0", "m1")
    assert sorted(table.samples["reward"]) == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_ids_do_not_depend_on_the_row_groups(tmp_path, size):
    """The whole number 1.0 was called 1 in a row group of whole numbers, and 1.0 beside 1.5."""
    frame = pd.DataFrame(
        {"prompt_id": [1.0, 2.0, 1.0, 1.5], "prompt": ["a", "b", "a", "c"], "model": ["m", "m", "n", "m"]}
    )
    frame.assign(reward=[0.1, 0.2, 0.3, 0.4]).to_parquet(tmp_path / "t.parquet", row_group_size=size)
    table = read_table(tmp_path / "t.parquet")
    assert table.prompts["prompt_id"].tolist() == ["1", "1.5", "2"]
    assert table.samples["reward"].tolist() == [0.1, 0.3, 0.4, 0.2]
