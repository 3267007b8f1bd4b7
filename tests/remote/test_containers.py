"""Clips in tars and parquet files, also hostile ones."""

import io
import json
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import seedvideo
from seedvideo.batch.extra_columns import parse_extra
from seedvideo.batch.inputs import BadRow, Item, read_inputs
from seedvideo.errors import InputError
from seedvideo.remote.fetching import Fetcher
from tests.remote.fault_server import LOCAL, FaultServer

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def tar_of(*members: tuple[str, bytes] | tarfile.TarInfo, form: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def rows(path: Path) -> tuple[dict[str, Item], dict[str, str]]:
    """The clips by key, and the codes of bad rows."""
    found = list(read_inputs([str(path)]))
    good = {each.source.partition("::")[2]: each for each in found if isinstance(each, Item)}
    bad = {each.id.partition("::")[2]: each.code for each in found if isinstance(each, BadRow)}
    return good, bad


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_a_webdataset(tmp_path: Path, form: int) -> None:
    long_name = f"{'d' * 90}/{'e' * 90}"
    values = {"question": "what?", "source": "web", "n": 1}
    path = tmp_path / "a.tar"
    path.write_bytes(
        tar_of(
            special("x", tarfile.DIRTYPE),
            ("x/1.json", json.dumps(values).encode()),
            ("x/1.mp4", b"one"),
            ("x/1.txt", b"caption"),
            ("x/2.cam.webm", b"two"),
            ("x/3.jpg", b"no clip"),
            (f"{long_name}.mp4", b"long"),
            form=form,
        )
    )
    good, bad = rows(path)
    assert (list(good), bad) == (["x/1.mp4", f"{long_name}.mp4"], {})
    assert good["x/1.mp4"].question == "what?"
    assert parse_extra(good["x/1.mp4"].extra) == {
        "metadata_source": "web",
        "n": 1,
        "txt": "caption",
    }
    with Fetcher() as fetcher:
        for name, data in ((long_name + ".mp4", b"long"), ("x/1.mp4", b"one")):
            with fetcher.lease(f"{path}::{name}") as lease:
                assert os.pread(lease.file.descriptor, 100, 0) == data
        with pytest.raises(InputError, match="no clip of this name"):
            fetcher.lease(f"{path}::x/9.mp4")


def test_what_a_tar_may_not_hold(tmp_path: Path) -> None:
    kinds = {
        "link": tarfile.SYMTYPE,
        "hard": tarfile.LNKTYPE,
        "pipe": tarfile.FIFOTYPE,
        "disk": tarfile.BLKTYPE,
        "tty": tarfile.CHRTYPE,
    }
    path = tmp_path / "a.tar"
    path.write_bytes(
        tar_of(
            ("good.mp4", b"x"),
            *(special(f"{name}.mp4", kind, "/etc/passwd") for name, kind in kinds.items()),
            ("../up.mp4", b"x"),
            ("/etc/abs.mp4", b"x"),
            ("good.mp4", b"second"),
            ("twice.mp4", b"x"),
            ("twice.mp4", b"y"),
            ("bad.mp4", b"x"),
            ("bad.json", b"[1"),
            ("last.mp4", b"x"),
        )
    )
    good, bad = rows(path)
    assert list(good) == ["good.mp4", "last.mp4"]
    assert set(bad.values()) == {"input.member_refused"}
    assert set(bad) == {*kinds, "../up", "/etc/abs", "good", "twice", "bad"}
    with Fetcher() as fetcher:
        for name in ("link.mp4", "../up.mp4"):
            with pytest.raises(InputError):
                fetcher.lease(f"{path}::{name}")


def gigabyte_header(data: bytes) -> bytes:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    return data[:1024] + header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)


def negative_size(data: bytes) -> bytes:
    block = bytearray(data[1024:1536])
    block[124:136] = b"\xff" * 12
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return data[:1024] + bytes(block) + data[1536:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:1200],
        lambda data: data[:1536],
        lambda data: data[:1024] + b"\1" * 512 + data[1536:],
        gigabyte_header,
        negative_size,
    ],
    ids=["no second header", "no end", "no header", "gigabyte header", "negative size"],
)
def test_damage_costs_what_is_behind_it(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(damage(tar_of(("1.mp4", b"x"), ("2.mp4", b"y"))))
    good, bad = rows(path)
    assert list(good)[:1] == ["1.mp4"]
    assert list(bad.values()) == ["input.container_invalid"]


@pytest.mark.parametrize("data", [b"", b"no tar at all", b"\x01" * 10_240])
def test_no_tar_is_one_bad_row(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    found = list(read_inputs([str(path), str(tmp_path / "other.mp4")]))
    assert isinstance(found[0], BadRow) and found[0].code == "input.container_invalid"
    assert isinstance(found[1], Item)


def test_a_clip_whose_metadata_may_be_cut_off_is_refused(tmp_path: Path) -> None:
    parts = [(f"{number}.{kind}", b"{}") for number in "123" for kind in ("mp4", "json")]
    path = tmp_path / "a.tar"
    for cut, codes in ((5, ["input.member_refused"]), (4, [])):
        path.write_bytes(tar_of(*parts)[: 1024 * cut])
        good, bad = rows(path)
        assert list(good) == ["1.mp4", "2.mp4"]
        assert list(bad.values()) == [*codes, "input.container_invalid"]


@pytest.mark.parametrize("has_struct", [True, False])
def test_parquet_with_videos(tmp_path: Path, *, has_struct: bool) -> None:
    datas = [b"a" * 50, None, b"c" * 30, b"a" * 50, b"e"]
    column = [{"bytes": data, "path": "x"} for data in datas] if has_struct else datas
    path = tmp_path / "a.parquet"
    table = pa.table({"video": column, "question": list("vwxyz")})
    pq.write_table(table, path, row_group_size=2)
    good, bad = rows(path)
    assert [each.question for each in good.values()] == list("vwxyz") and not bad
    with Fetcher() as fetcher:
        for row in (4, 0, 3, 2):
            with fetcher.lease(f"{path}::{row}") as lease:
                assert os.pread(lease.file.descriptor, 100, 0) == datas[row]
        for missing in ("1", "5", "-1", "x"):
            with pytest.raises(InputError) as caught:
                fetcher.lease(f"{path}::{missing}")
            assert caught.value.code == "input.not_found"
        assert fetcher.spool.used_bytes <= 50 + 100 + 4 * 50 + 1000


def test_a_damaged_parquet_is_a_bad_row(tmp_path: Path, server: FaultServer) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"video": [b"a" * 50_000] * 3}), path, use_dictionary=False)
    data = path.read_bytes()
    server.files["/a.parquet"] = data[:100] + b"\xff" * 3000 + data[3100:]
    name = f"{server.url}/a.parquet"
    with Fetcher(LOCAL) as fetcher:
        assert len(list(read_inputs([name], fetcher=fetcher))) == 3
        with pytest.raises(InputError):
            fetcher.lease(f"{name}::0")


def test_a_remote_tar_is_fetched_once_for_all_clips(
    server: FaultServer, clip: bytes, tmp_path: Path
) -> None:
    server.files["/a.tar"] = tar_of(*((f"{number}.mp4", clip) for number in range(5)))
    name = f"{server.url}/a.tar?X-Amz-Signature=SECRET"
    with Fetcher(LOCAL) as fetcher:
        found = [each for each in read_inputs([name], fetcher=fetcher) if isinstance(each, Item)]
        assert [each.source for each in found] == [
            f"{server.url}/a.tar::{number}.mp4" for number in range(5)
        ]
        for each in found:
            fetcher.expect(each.source)

        def use(item: Item) -> None:
            with fetcher.lease(item.source) as lease, seedvideo.open(lease.opened) as video:
                assert len(video.times) == 30 and video.source == item.source

        threads = [threading.Thread(target=use, args=(each,)) for each in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert fetcher.spool.used_bytes == 0
    assert server.requests == ["/a.tar?X-Amz-Signature=SECRET"]
    path = tmp_path / "local.tar"
    path.write_bytes(server.files["/a.tar"])
    with seedvideo.open(f"{path}::3.mp4") as video:
        assert len(video.times) == 30
