"""The command where users run it: files of theirs in the current folder, odd names, folders, terminals and clusters."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import pytest

from cluster import session
from dakpn.datasets import manifest
from dakpn.errors import ClusterError
from dakpn.images.codec import encode_image, encode_label
from dakpn.import_order import is_shadowed, project_root
from tests.command import assert_failed, dakpn, dakpn_process, environment

LABEL = encode_label(np.full((3, 4), 5, np.uint8))


def image(number: int) -> bytes:
    return encode_image(np.random.default_rng(number).integers(0, 256, (3, 4, 3), np.uint8), "png")


def write_pairs(root: Path, *names: tuple[str, str]) -> Path:
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, (name, label) in enumerate(names):
        (root / f"images/{name}.png").write_bytes(image(number))
        (root / f"labels/{label}").write_bytes(LABEL)
    return root


NAME = "München_été"
NFC, NFD = (unicodedata.normalize(form, NAME) for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("name", "label"), [(NFD, f"{NFC}.png"), (NFC, f"{NFD}.png"), ("a", "a.PNG"), (NFD, f"{NFC}.Png")]
)
def test_a_label_whose_name_looks_the_same_is_found(tmp_path: Path, name: str, label: str) -> None:
    root = write_pairs(tmp_path / "in", ("plain", "plain.png"), (name, label))
    done = dakpn("pack", root, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert manifest.read_run(str(tmp_path / "out"))["inventory"]["taken"] == {"images": 2, "labels": 2}
    assert dakpn("check", root).returncode == 0


def test_a_label_belongs_to_one_image_alone(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "in", (NFC, f"{NFC}.png"), (NFD, f"{NFD}.png"))
    assert dakpn("pack", root, tmp_path / "out").returncode == 0
    (root / f"labels/{NFD}.png").unlink()
    assert_failed(dakpn("pack", root, tmp_path / "other"), 2, f"{NFD}.png has no label")


def test_a_label_of_a_format_that_is_not_read_is_named(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "in", ("a", "a.tif"))
    assert_failed(dakpn("pack", root, tmp_path / "out"), 2, "there is a.tif, which is not read as a label")


def test_uris_and_names_hold_what_people_write(tmp_path: Path) -> None:
    root = write_pairs(
        tmp_path / "my set", ("東京\u3000駅", "東京\u3000駅.png"), ("no\u00a0break", "no\u00a0break.png")
    )
    uri = f"file://{tmp_path}/my%20set"
    assert dakpn("check", uri).returncode == 0
    for kind in ("parquet", "webdataset", "folder"):
        assert dakpn("pack", uri, f"file://{tmp_path}/out%20{kind}", "--format", kind).returncode == 0
        assert dakpn("check", tmp_path / f"out {kind}").returncode == 0
    assert (root / "images").is_dir()


def test_a_terminal_without_these_characters_gets_escapes(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "in", ("東京", "東京.png"), ("a", "a.png"))
    (root / "depth").mkdir()
    (root / "depth/駅.png").write_bytes(LABEL)
    done = dakpn_process("check", root, PYTHONIOENCODING="ascii", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert r"depth/\u99c5.png" in done.stdout


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "[::1]:9", "nowhere.invalid:6379"])
def test_a_dead_cluster_is_a_sentence_at_once(address: str) -> None:
    with pytest.raises(ClusterError, match=r"which RAY_ADDRESS names, cannot be reached .*unset RAY_ADDRESS"):
        session._connect(address)


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("kind", ["silent", "web", "grpc"])
def test_what_listens_and_is_no_ray_is_a_sentence_at_once(
    kind: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_REACHED_WITHIN_S", 0.5)
    with contextlib.ExitStack() as stack:
        if kind == "silent":
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = server.getsockname()[1]
        elif kind == "web":
            web = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler))
            threading.Thread(target=web.serve_forever, daemon=True).start()
            stack.callback(web.shutdown)
            port = web.server_port
        else:
            other = grpc.server(ThreadPoolExecutor(1))
            port = other.add_insecure_port("127.0.0.1:0")
            other.start()
            stack.callback(other.stop, 0)
            if scheme:
                session._require_head(f"{scheme}127.0.0.1:{port}")  # Ray's client finds out within half a minute
                return
        words = {"silent": "timed out", "web": "is no Ray", "grpc": "no head of Ray; its client server takes ray://"}
        with pytest.raises(ClusterError, match=rf"{words[kind]}.*unset RAY_ADDRESS"):
            session._connect(f"{scheme}127.0.0.1:{port}")


def test_sockets_of_ray_lie_in_a_short_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/t")
    assert session._short_folder() == {}
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 100)))
    folder = session._short_folder()["_temp_dir"]
    assert len(os.fsencode(folder)) < 40
    monkeypatch.setattr(session, "_SHORT_FOLDER", str(tmp_path / "nowhere"))
    with pytest.raises(ClusterError, match="set RAY_TMPDIR to a short path"):
        session._short_folder()


def test_modules_of_ours_go_before_files_of_the_same_name(tmp_path: Path) -> None:
    assert not is_shadowed(tmp_path)
    assert not is_shadowed(project_root())
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows/__init__.py").write_text("raise RuntimeError('not this one')")
    assert is_shadowed(tmp_path)
    (tmp_path / "cluster.py").write_text("raise RuntimeError('not this one')")
    code = f"import dakpn.import_order as order, sys; order.project_first(); sys.path.insert(0, {str(tmp_path)!r})"
    code += "; import cluster.session, workflows.cli"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_long_folder_and_files_of_the_same_name_do_not_get_in_the_way_of_ray(tmp_path: Path) -> None:
    root = write_pairs(tmp_path / "in", *((f"{i}", f"{i}.png") for i in range(4)))
    here = tmp_path / ("x" * 100)
    here.mkdir()
    for name in ("cluster", "workflows"):
        (here / f"{name}.py").write_text("raise RuntimeError('not this one')")
    words = ["pack", root, tmp_path / "out", "--rows-per-shard", "1", "--workers", "2"]
    code = "import sys; from workflows.__main__ import main; sys.path.insert(0, ''); sys.exit(main())"
    command = [sys.executable, "-P", "-c", code, *map(str, words)]
    env = environment(TMPDIR=str(here))
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert manifest.read_index(str(tmp_path / "out")).rows == 4
