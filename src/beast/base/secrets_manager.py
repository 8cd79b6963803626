"""AWS Secrets Manager as a source of settings. The only importer of boto3 for it."""

import importlib
import importlib.util
from collections.abc import Mapping

import msgspec

from beast.base.errors import BeastError


def fetch_secret(secret_id: str) -> Mapping[str, str]:
    """The settings kept as one JSON object in the secret `secret_id`.

    Region, credentials and endpoint are found as boto3 finds them (AWS's own variables, the task's role).

    Raises:
        BeastError: boto3 is not installed, the secret can't be had, or it isn't an object of texts.
    """
    where = f"secret {secret_id}"
    if importlib.util.find_spec("boto3") is None:
        raise BeastError(
            "AWS's client is not installed", where=where, todo="pip install boto3, or unset BEAST_SECRET_ID"
        )
    # Loaded here and not above: it costs 150 ms that only its users should pay.
    boto3 = importlib.import_module("boto3")
    try:
        text = boto3.client("secretsmanager").get_secret_value(SecretId=secret_id)["SecretString"]
    except Exception as error:
        # botocore raises classes made at run time; whichever it is, start-up can't go on.
        reason = f"can't be had: {type(error).__name__}: {error}"
        raise BeastError(reason, where=where, todo="check its name, the region and the role's permissions") from error
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.MsgspecError:
        # Without the cause: its message may quote the secret.
        raise BeastError("is not one JSON object of texts", where=where) from None
