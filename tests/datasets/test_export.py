"""Datasets of a job: the same bytes each time, and the clips' own bytes."""

import hashlib
import io
import json
import os
import tarfile
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from seedvideo.batch.export import export
from seedvideo.batch.fingerprint import Content
from seedvideo.batch.inputs import Item, read_inputs
from seedvideo.batch.job import Job
from seedvideo.batch.journal import Journal
from seedvideo.config import SamplingConfig
from seedvideo.datasets import export as exporting
from seedvideo.datasets import hub_shards
from seedvideo.datasets.export import DATASET_FORMATS
from seedvideo.datasets.folder import HashedFile
from seedvideo.datasets.rows import arrow_row, json_row
from seedvideo.datasets.schema import COLUMNS, QUALITY, schema_sha256
from seedvideo.datasets.source import DatasetOptions
from seedvideo.datasets.tar_shards import _add_member
from seedvideo.errors import BatchError, ConfigError, SeedVideoError
from tests.datasets.clip_jobs import (
    DONE,
    all_bytes,
    exported,
    job_of,
    manifest,
    paint_clips,
    source_of,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``clips`` and their ``job``."""
    made = tmp_path_factory.mktemp("clips")
    job_of(made)
    return made


@pytest.fixture(scope="module")
def job(folder: Path) -> Path:
    return folder / "job"


def samples(path: Path) -> dict[str, dict[str, bytes]]:
    """Members of a tar by key and suffix; members of a key must lie side by side."""
    found: dict[str, dict[str, bytes]] = {}
    last = ""
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            assert key == last or key not in found
            last = key
            data = tar.extractfile(member)
            assert data is not None
            found.setdefault(key, {})[suffix] = data.read()
    return found


def test_the_table_has_all_rows(job: Path, tmp_path: Path) -> None:
    made = exported(job, "dataset", tmp_path / "out")
    assert (made.clips, made.files, made.others, made.unreadable) == (9, 2, 0, {})
    assert set(all_bytes(tmp_path / "out")) == {"captions.parquet", "dataset.json"}
    table = parquet.read_table(tmp_path / "out" / "captions.parquet")
    with source_of(job) as source:
        rows = [arrow_row(row, COLUMNS) for row in source.rows()]
    assert table.to_pylist() == rows
    assert table.schema.metadata[b"seedvideo.schema_version"] == b"1"
    assert table.schema.field("quality").type == pa.struct([(n, pa.float64()) for n in QUALITY])


def test_the_table_is_written_in_groups(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "GROUP_ROWS", 4)
    exported(job, "dataset", tmp_path / "out")
    assert parquet.ParquetFile(tmp_path / "out" / "captions.parquet").num_row_groups == 3


def test_a_tar_holds_the_bytes_of_the_clips(folder: Path, tmp_path: Path) -> None:
    made = exported(folder / "job", "webdataset", tmp_path / "out")
    assert (made.clips, made.files, made.others) == (4, 3, 5)
    found = samples(tmp_path / "out" / "train-000000.tar")
    rows = [json.loads(sample["json"]) for sample in found.values()]
    assert [row["id"] for row in rows] == list(DONE)
    for row, sample in zip(rows, found.values(), strict=True):
        suffix = Path(row["source"]).suffix[1:]
        assert list(sample) == [suffix, "json", "txt"]
        data = (folder / "clips" / row["source"]).read_bytes()
        assert sample[suffix] == data
        assert row["source_sha256"] == hashlib.sha256(data).hexdigest()
        assert row["source_size"] == len(data)
        assert sample["txt"].decode() == row["caption"] == f"This is {row['source']}."
        assert list(row) == list(COLUMNS)
    assert all(len(key) == 20 and key.isalnum() for key in found)


def test_members_have_no_owner_and_no_time(job: Path, tmp_path: Path) -> None:
    exported(job, "webdataset", tmp_path / "out", with_sheets=True)
    with tarfile.open(tmp_path / "out" / "train-000000.tar") as tar:
        facts = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in tar}
    assert facts == {(0, 0, 0, "", "", 0o644, tarfile.REGTYPE)}
    assert (tmp_path / "out" / "train-000000.tar").stat().st_size % tarfile.RECORDSIZE == 0


def test_contact_sheets_are_optional(job: Path, tmp_path: Path) -> None:
    exported(job, "webdataset", tmp_path / "out", with_sheets=True)
    for sample in samples(tmp_path / "out" / "train-000000.tar").values():
        assert sample["sheet.jpg"].startswith(b"\xff\xd8\xff")


def test_a_photo_and_its_contact_sheet_have_names_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    paint_clips(tmp_path / "clips")
    Image.new("RGB", (64, 48)).save(tmp_path / "clips" / "photo.jpg")
    first = Item(id="photo", source="photo.jpg")
    exported(job_of(tmp_path, first=first), "webdataset", tmp_path / "out", with_sheets=True)
    with tarfile.open(tmp_path / "out" / "train-000000.tar") as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    assert sorted(name.partition(".")[2] for name in names[:4]) == [
        *("jpg", "json", "sheet.jpg", "txt"),
    ]


def test_the_others_are_listed(job: Path, tmp_path: Path) -> None:
    exported(job, "webdataset", tmp_path / "out")
    lines = (tmp_path / "out" / "rest.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["id"] for row in rows] == ["near.mp4", "short.mp4", "bad.mp4", "later", "l:7"]
    assert rows[0]["duplicate_of"] == "long.mp4" and list(rows[0]) == list(COLUMNS)


@pytest.mark.parametrize("form", ["webdataset", "hf"])
def test_a_shard_is_closed_at_its_size(folder: Path, tmp_path: Path, form: str) -> None:
    sizes = [(folder / "clips" / name).stat().st_size for name in DONE]
    assert exported(folder / "job", form, tmp_path / "small", shard_gib=1e-9).clips == 4
    names = [each["name"] for each in manifest(tmp_path / "small")["files"] if each["rows"] == 1]
    first = {"webdataset": "train-{:06}.tar", "hf": "data/train-{:05}-of-00004.parquet"}[form]
    assert names == [first.format(number) for number in range(4)]
    # Two small clips and their rows fit into a shard that the third would exceed.
    gib = (sum(sizes[:2]) + 9_000) / 2**30
    exported(folder / "job", form, tmp_path / "pairs", shard_gib=gib)
    counts = [
        each["rows"] for each in manifest(tmp_path / "pairs")["files"] if "train-" in each["name"]
    ]
    assert sum(counts) == 4 and 1 < len(counts) < 4


def test_a_job_reads_its_own_shards_again(job: Path, tmp_path: Path) -> None:
    exported(job, "webdataset", tmp_path / "out", shard_gib=1e-5)
    assert (tmp_path / "out" / "train-000001.tar").exists()
    items = list(read_inputs(["out/train-*.tar"], folder=str(tmp_path)))
    assert [item.id for item in items] == list(DONE)
    assert all(isinstance(item, Item) for item in items)


def test_clips_in_containers_are_copied_too(folder: Path, tmp_path: Path) -> None:
    exported(folder / "job", "webdataset", tmp_path / "out")
    (tar,) = (tmp_path / "out").glob("*.tar")
    items = read_inputs([str(tar)])
    first = next(item for item in items if isinstance(item, Item))
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "clips").symlink_to(folder / "clips")
    with Journal.open(tmp_path / "again" / "job", write=True) as journal:
        journal.plan([first], Job(folder=str(tmp_path)), "a" * 64)
        (taken,) = journal.claim(1)
        with source_of(folder / "job") as source:
            record = next(source.clips()).entry.record
        facts = tar.stat()
        content = Content(size=facts.st_size, mtime_ns=facts.st_mtime_ns, sha256="")
        journal.mark_done(taken.item.id, "f", content, record)
    made = exported(tmp_path / "again" / "job", "webdataset", tmp_path / "copy")
    assert made.unreadable == {}
    (sample,) = samples(tmp_path / "copy" / "train-000000.tar").values()
    assert sample["mp4"] == (folder / "clips" / "a/one.mp4").read_bytes()


def test_the_hub_gets_columns_with_values_and_videos(folder: Path, tmp_path: Path) -> None:
    made = exported(folder / "job", "hf", tmp_path / "out", licence='CC "BY" 4.0')
    assert (made.clips, made.files, made.others) == (4, 4, 5)
    path = tmp_path / "out" / "data" / "train-00000-of-00001.parquet"
    table = parquet.read_table(path)
    assert table.column_names[:2] == ["video", "id"]
    # Nothing failed here, and no clip has a window or an answer.
    absent = {"error", "filtered", "answer", "start_s", "signature", "spans", "duplicate_of"}
    assert absent.isdisjoint(table.column_names)
    assert {"caption", "codec", "extra", "domain", "source_sha256"} <= set(table.column_names)
    rows = table.to_pylist()
    for row in rows:
        data = (folder / "clips" / row["source"]).read_bytes()
        assert row["video"]["bytes"] == data
        assert row["video"]["path"].endswith(Path(row["source"]).suffix)
        assert row["source_sha256"] == hashlib.sha256(data).hexdigest()
    assert rows[0]["extra"] == {"note": None, "score": "4.5"}
    features = json.loads(table.schema.metadata[b"huggingface"])
    assert features == {"info": {"features": {"video": {"_type": "Video"}}}}
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith('---\nlicense: "CC \\"BY\\" 4.0"\n')
    assert "- Clips: 4, inside the files.\n" in card
    assert "4 done, 2 failed, 2 filtered, 1 pending" in card


def test_videos_are_not_compressed_twice(job: Path, tmp_path: Path) -> None:
    exported(job, "hf", tmp_path / "out")
    (path,) = (tmp_path / "out" / "data").iterdir()
    group = parquet.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    kinds = {column.path_in_schema: column.compression for column in columns}
    assert kinds.pop("video.bytes") == "UNCOMPRESSED"
    assert set(kinds.values()) == {"ZSTD"}
    assert all(
        column.statistics is None for column in columns if column.path_in_schema == "video.bytes"
    )


def test_groups_of_videos_are_bounded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [(folder / "clips" / name).stat().st_size for name in DONE]
    monkeypatch.setattr(hub_shards, "GROUP_BYTES", sum(sizes[:2]) + 4_000)
    exported(folder / "job", "hf", tmp_path / "a")
    monkeypatch.undo()
    monkeypatch.setattr(hub_shards, "GROUP_CLIPS", 3)
    exported(folder / "job", "hf", tmp_path / "b")
    groups = []
    for name in "ab":
        (path,) = (tmp_path / name / "data").iterdir()
        found = parquet.ParquetFile(path).metadata
        groups.append([found.row_group(index).num_rows for index in range(found.num_row_groups)])
    assert groups[0][0] < 4 and sum(groups[0]) == 4
    assert groups[1] == [3, 1]


def test_without_bytes_the_hub_gets_the_sources(folder: Path, tmp_path: Path) -> None:
    exported(folder / "job", "hf", tmp_path / "out", with_bytes=False)
    (path,) = (tmp_path / "out" / "data").iterdir()
    rows = parquet.read_table(path).to_pylist()
    assert [row["video"] for row in rows] == [{"bytes": None, "path": name} for name in DONE]
    assert "source_sha256" not in rows[0]


def test_a_value_that_parquet_cannot_hold_is_listed(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_shards, "_MAX_VALUE_BYTES", 10)
    made = exported(job, "hf", tmp_path / "out")
    assert {error.code for error in made.unreadable.values()} == {"input.too_large"}
    # It has its columns still.
    (path,) = (tmp_path / "out" / "data").iterdir()
    assert parquet.read_table(path).num_rows == 0


# --- dataset.json


@pytest.mark.parametrize("form", DATASET_FORMATS)
def test_the_same_job_gives_the_same_bytes(job: Path, tmp_path: Path, form: str) -> None:
    for name in ("a", "b"):
        exported(job, form, tmp_path / name, shard_gib=1e-5, with_copies=True)
    assert all_bytes(tmp_path / "a") == all_bytes(tmp_path / "b")


@pytest.mark.parametrize("form", DATASET_FORMATS)
def test_all_files_are_named_with_their_hashes(job: Path, tmp_path: Path, form: str) -> None:
    exported(job, form, tmp_path / "out", shard_gib=1e-9)
    facts = manifest(tmp_path / "out")
    found = all_bytes(tmp_path / "out")
    del found["dataset.json"]
    assert {each["name"]: each["sha256"] for each in facts["files"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in found.items()
    }
    assert {each["name"]: each["bytes"] for each in facts["files"]} == {
        name: len(data) for name, data in found.items()
    }
    assert sum(each["rows"] for each in facts["files"]) == facts["rows"] == 9
    assert facts["states"] == {"done": 4, "failed": 2, "filtered": 2, "pending": 1}
    assert facts["filtered"] == {"min_duration": 1, "near_duplicates": 1}
    assert facts["failures"] == {"batch.row_invalid": 1, "media.corrupt": 1}
    assert facts["models"] == {"nano": "0" * 64}
    assert (facts["format"], facts["task"], facts["model_sha256"]) == (form, "caption", "a" * 64)


def test_the_hash_of_the_rows_is_that_of_all_forms(job: Path, tmp_path: Path) -> None:
    with source_of(job) as source:
        lines = b"".join(json_row(row) + b"\n" for row in source.rows())
    for form in DATASET_FORMATS:
        exported(job, form, tmp_path / form)
        facts = manifest(tmp_path / form)
        assert facts["rows_sha256"] == hashlib.sha256(lines).hexdigest()
        assert (facts["schema_sha256"] == schema_sha256()) == (form != "hf")


# --- clips that are not as the job read them


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of clips and their job, to change."""
    job_of(tmp_path)
    return tmp_path


def replace_clip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"?")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("form", ["webdataset", "hf"])
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (Path.unlink, "input.not_found"),
        (replace_clip, "input.changed"),
        (lambda path: path.write_bytes(b""), "input.empty"),
        (lambda path: path.write_text("#EXTM3U\nhttp://x"), "media.not_video"),
    ],
)
def test_a_clip_without_its_bytes_is_listed(
    own: Path, form: str, change: object, code: str
) -> None:
    assert callable(change)
    change(own / "clips" / "b" / "one.mp4")
    made = exported(own / "job", form, own / "out")
    assert (made.clips, made.others) == (3, 5)
    assert {name: error.code for name, error in made.unreadable.items()} == {"b/one.mp4": code}
    first = json.loads((own / "out" / "rest.jsonl").read_text().splitlines()[0])
    assert (first["id"], first["state"], first["error"]["code"]) == ("b/one.mp4", "failed", code)
    assert manifest(own / "out")["failures"][code] == 1


def test_a_clip_with_another_hash_than_its_list_states_is_taken_out_again(tmp_path: Path) -> None:
    wrong = Item(id=DONE[0], source=DONE[0], extra=json.dumps({"sha256": "ab" * 32}))
    job = job_of(tmp_path, first=wrong)
    made = exported(job, "webdataset", tmp_path / "out")
    assert [error.message for error in made.unreadable.values()] == [
        f"{tmp_path}/clips/a/one.mp4: has another hash than the column sha256 states"
    ]
    assert len(samples(tmp_path / "out" / "train-000000.tar")) == 3
    data = all_bytes(tmp_path / "out")["train-000000.tar"]
    (facts,) = (each for each in manifest(tmp_path / "out")["files"] if each["rows"] == 3)
    assert facts["sha256"] == hashlib.sha256(data).hexdigest()
    right = hashlib.sha256((tmp_path / "clips" / DONE[0]).read_bytes()).hexdigest()
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "clips").symlink_to(tmp_path / "clips")
    known = Item(id=DONE[0], source=DONE[0], extra=json.dumps({"sha256": right}))
    assert exported(job_of(tmp_path / "two", first=known), "hf", tmp_path / "hf").unreadable == {}


@pytest.mark.parametrize("form", ["webdataset", "hf"])
def test_windows_have_no_file(tmp_path: Path, form: str) -> None:
    window = Item(id="w", source=DONE[0], start_s=Fraction(1, 2), end_s=Fraction(1))
    job = job_of(tmp_path, first=window)
    with pytest.raises(BatchError) as caught:
        exported(job, form, tmp_path / "out")
    assert caught.value.code == "batch.clips_not_cut"
    assert caught.value.message.startswith("1 clip is a window of longer videos, such as w,")
    assert not (tmp_path / "out").exists()
    exported(job, "hf", tmp_path / "hf", with_bytes=False)
    (path,) = (tmp_path / "hf" / "data").iterdir()
    first = parquet.read_table(path).to_pylist()[0]
    assert (first["start_s"], first["end_frac"]) == (0.5, "1")


def test_a_window_of_the_whole_job(tmp_path: Path) -> None:
    paint_clips(tmp_path / "clips")
    sampling = SamplingConfig(end_s=Fraction(1))
    job = job_of(tmp_path, job=Job(folder=str(tmp_path / "clips"), sampling=sampling))
    with pytest.raises(BatchError, match="4 clips are windows"):
        exported(job, "webdataset", tmp_path / "out")


# --- chosen rows


def test_a_table_chooses_clips_and_adds_columns(job: Path, tmp_path: Path) -> None:
    table = tmp_path / "balanced.csv"
    table.write_text(
        "id,source,caption,domain,repeats,keep_reason,clip_score\n"
        "long.mp4,x.mp4,other,film,2,cap:2,0.5\n"
        "long.mp4~2,x.mp4,other,film,1,cap:2,0.5\n"
        "a/one.mp4,x.mp4,other,,,,0.25\n"
        "near.mp4,x.mp4,,,,,\n"
    )
    with source_of(job, DatasetOptions(rows=table)) as source:
        rows = list(source.rows())
    assert [row["id"] for row in rows] == ["a/one.mp4", "long.mp4", "long.mp4~2", "near.mp4"]
    assert [row["domain"] for row in rows] == ["cooking", "film", "film", None]
    assert rows[0]["extra"] == {"score": "4.5", "clip_score": "0.25"}
    # The copy is a row, so it is not counted again.
    assert (rows[1]["repeats"], rows[1]["keep_reason"]) == (1, "cap:2")
    assert rows[1]["caption"] == "This is long.mp4." and rows[1]["source"] == "long.mp4"
    made = exported(job, "webdataset", tmp_path / "out", rows=table, with_copies=True)
    # The first has three copies by the job's own list.
    assert (made.clips, made.others) == (5, 1)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"id": "unknown.mp4"}\n', "batch.rows_unknown"),
        ('{"id": "a/one.mp4"}\n{"path": "b"}\n', "batch.rows_invalid"),
        ('{"id": "a/one.mp4"}\nbroken\n', "batch.rows_invalid"),
        (None, "input.not_found"),
    ],
)
def test_a_table_that_is_of_no_use(job: Path, tmp_path: Path, text: str | None, code: str) -> None:
    table = tmp_path / "rows.jsonl"
    if text is not None:
        table.write_text(text)
    with pytest.raises(SeedVideoError) as caught:
        exported(job, "dataset", tmp_path / "out", rows=table)
    assert caught.value.code == code
    assert not (tmp_path / "out").exists()


def test_an_exported_table_chooses_its_own_clips(job: Path, tmp_path: Path) -> None:
    for form in ("jsonl", "csv", "parquet"):
        table = tmp_path / f"rows.{form}"
        with Journal.open(job, write=False) as journal:
            export(journal, form, table)
        exported(job, "dataset", tmp_path / form, rows=table)
    exported(job, "dataset", tmp_path / "all")
    whole = all_bytes(tmp_path / "all")
    assert all_bytes(tmp_path / "jsonl") == all_bytes(tmp_path / "csv") == whole
    assert all_bytes(tmp_path / "parquet") == whole


def test_a_job_without_a_list(tmp_path: Path) -> None:
    Journal.open(tmp_path / "job", write=True).close()
    with pytest.raises(BatchError, match="has no list of clips yet"):
        exported(tmp_path / "job", "dataset", tmp_path / "out")


def test_shards_without_a_size() -> None:
    with pytest.raises(ConfigError, match="shard_gib is 0"):
        DatasetOptions(shard_gib=0)


def test_an_export_is_of_one_moment(own: Path) -> None:
    """A clip that another process finishes between two passes is in neither."""
    with source_of(own / "job") as source:
        before = [row["state"] for row in source.rows()]
        with Journal.open(own / "job", write=True) as journal:
            (taken,) = journal.claim(1)
            journal.mark_filtered(taken.item.id, "black", "is black", None)
        assert [row["state"] for row in source.rows()] == before
    with source_of(own / "job") as source:
        assert [row["state"] for row in source.rows()] != before


def test_a_tar_of_a_large_file_has_a_valid_header() -> None:
    class Sparse(io.BytesIO):
        def write(self, data: object) -> int:
            view = memoryview(data)  # type: ignore[arg-type]
            return super().write(view) if view.nbytes <= tarfile.BLOCKSIZE else view.nbytes

    file = Sparse()
    _add_member(HashedFile(file), "k.mp4", 9 << 30, [])
    header = tarfile.TarInfo.frombuf(file.getvalue()[: tarfile.BLOCKSIZE], "utf-8", "strict")
    assert (header.name, header.size) == ("k.mp4", 9 << 30)
