from pathlib import Path

import pytest

from dakpn import storage
from dakpn.errors import ConfigError
from dakpn.storage.location import locate

VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_MAX_ATTEMPTS")
VARIABLES += ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_CA_BUNDLE", "DAKPN_STORAGE_OPTIONS")


@pytest.fixture
def write_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a file of options and names it in the environment, which holds no other setting."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def write(text: str) -> None:
        path = tmp_path / f"storage-{abs(hash(text))}.yaml"
        path.write_text(text)
        monkeypatch.setenv("DAKPN_STORAGE_OPTIONS", str(path))

    return write


def test_without_a_file_the_checksums_suit_other_servers_than_amazons(
    write_options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAKPN_STORAGE_OPTIONS", raising=False)
    assert storage.load_options() == storage.StorageOptions(checksums="when_required", endpoint_url=None)


def test_the_client_gets_what_the_file_says_and_retries_nothing_itself(write_options) -> None:
    write_options(
        "endpoint_url: http://store:9000\nregion: eu-west-3\naddressing_style: path\nconnect_timeout_s: 2\n"
        "read_timeout_s: 7\nchecksums: when_supported\nverify_tls: false\n"
    )
    files, path = locate("s3://bucket/a/b")
    assert path == "bucket/a/b"
    client = files.s3
    assert client.meta.endpoint_url == "http://store:9000"
    assert client.meta.region_name == "eu-west-3"
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (2, 7)
    assert config.s3["addressing_style"] == "path"
    assert config.request_checksum_calculation == "when_supported"
    assert config.retries["total_max_attempts"] == 1
    assert files.retries == 1


def test_the_environment_wins_over_the_file(write_options, monkeypatch: pytest.MonkeyPatch) -> None:
    write_options("endpoint_url: http://file:1\nregion: file\nmax_attempts: 3\nread_timeout_s: 7\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://environment:2")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "9")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_SUPPORTED")
    options = storage.load_options()
    assert options.endpoint_url == "https://environment:2"
    assert (options.max_attempts, options.region, options.read_timeout_s) == (9, "file", 7)
    assert options.checksums == "when_supported"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("endpoint: http://x\n", "unknown key endpoint; valid here: .*endpoint_url"),
        ("max_attempts: 0\n", "max_attempts = 0"),
        ("addressing_style: dns\n", "addressing_style"),
        ("endpoint_url: store:9000\n", "endpoint_url"),
        ("- a\n", "expected a mapping"),
    ],
)
def test_what_does_not_fit_is_refused(write_options, text: str, said: str) -> None:
    write_options(text)
    with pytest.raises(ConfigError, match=said):
        storage.exists("s3://bucket/a")


@pytest.mark.parametrize(
    "text",
    [
        "access_key: canary-123\n",
        "region: x\nsecret: canary-123\n",
        "aws_secret_access_key: canary-123\nbroken: [\n",
        "{region: x, session_token: canary-123}\n",
        "client:\n  'AWS-Access-Key-ID': canary-123\n",
        "password: canary-123\n",
        "endpoint_url: http://me:canary-123@store:9000\n",
    ],
)
def test_a_credential_in_the_file_is_refused_and_not_repeated(write_options, text: str) -> None:
    write_options(text)
    with pytest.raises(ConfigError, match=r"holds a credential .*AWS_SECRET_ACCESS_KEY .*in the environment") as caught:
        storage.read_bytes("s3://bucket/a")
    assert "canary" not in str(caught.value)


def test_a_credential_in_the_endpoint_variable_is_refused_and_not_repeated(
    write_options, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_options("region: x\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:canary-123@store:9000")
    with pytest.raises(ConfigError, match="holds credentials") as caught:
        storage.load_options()
    assert "canary" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAKPN_STORAGE_OPTIONS", "/no/such/options.yaml")
    with pytest.raises(ConfigError, match=r"DAKPN_STORAGE_OPTIONS names /no/such/options\.yaml, which cannot be read"):
        storage.load_options()


def test_local_files_need_no_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAKPN_STORAGE_OPTIONS", "/no/such/options.yaml")
    assert not storage.exists(str(tmp_path / "a"))
