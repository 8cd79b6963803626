"""Against a stand-in for boto3, the outside company's client; not for a module of ours."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from beast.base.config_sources import load_config
from beast.base.errors import BeastError
from beast.base.secrets_manager import fetch_secret

STAND_IN = """
class client:
    def __init__(self, name):
        assert name == "secretsmanager"
    def get_secret_value(self, SecretId):
        if SecretId == "missing":
            raise RuntimeError("ResourceNotFoundException")
        good = '{"http_port": "99", "admin_key": "kkkkkkkkkkkkkkkkkkkk"}'
        return {"SecretString": {"good": good, "odd": '["x"]'}[SecretId]}
"""


@pytest.fixture
def _boto3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "boto3.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(tmp_path))
    # Put there first, so that what is imported in its place is taken out again after the test.
    monkeypatch.setitem(sys.modules, "boto3", ModuleType("boto3"))
    del sys.modules["boto3"]


@pytest.mark.usefixtures("_boto3")
def test_settings_come_from_the_secret() -> None:
    loaded = load_config(environ={"BEAST_SECRET_ID": "good"})
    assert (loaded.config.http_port, loaded.origins["http_port"]) == (99, "secret good")
    assert loaded.shown()["admin_key"] == "***"


@pytest.mark.usefixtures("_boto3")
@pytest.mark.parametrize(("secret", "told"), [("missing", "ResourceNotFound"), ("odd", "not one JSON object")])
def test_a_bad_secret_stops_the_start(secret: str, told: str) -> None:
    with pytest.raises(BeastError, match=told):
        fetch_secret(secret)


def test_without_the_client_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "boto3", raising=False)
    with pytest.raises(BeastError, match="pip install boto3"):
        fetch_secret("good")
