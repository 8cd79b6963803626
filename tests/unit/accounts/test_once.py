import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beast.accounts.once import KEY_MAX, Kept, Once
from beast.base.errors import UsageError

SECRET = bytes(range(32))


def named(key: str = "k", *, path: str = "/admin/keys", body: bytes = b"{}", operator_key: str = "o" * 16) -> Once:
    return Once.named(key, path=path, body=body, operator_key=operator_key)


def kept(once: Once, secret: bytes = SECRET) -> Kept:
    salt, sealed = once.seal(secret)
    return Kept(once.request, "{}", salt, sealed)


@given(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=KEY_MAX).filter(
        lambda key: key != '""'  # nothing, in quotation marks: refused, see below
    ),
    st.binary(min_size=32, max_size=32),
)
@example('"', SECRET)
@example('"""', SECRET)
def test_who_names_the_request_again_opens_the_answer(key: str, secret: bytes) -> None:
    assert named(key).open(kept(named(key), secret)) == secret


def test_nobody_else_does() -> None:
    sealed = kept(named())
    for other in (named("j"), named(operator_key="p" * 16)):
        assert other.open(sealed) != SECRET


def test_no_two_answers_are_sealed_alike() -> None:
    first, second = kept(named()), kept(named())
    assert first.salt != second.salt
    assert first.sealed != second.sealed
    assert SECRET not in {first.sealed, second.sealed}


def test_a_request_is_told_by_its_path_key_and_body() -> None:
    assert named().digest == named(body=b"other").digest
    assert len({named().digest, named("j").digest, named(path="/admin/users").digest}) == 3
    assert named().request != named(body=b"other").request


def test_quotation_marks_of_a_structured_field_are_no_part_of_it() -> None:
    assert named('"k"').digest == named("k").digest


@pytest.mark.parametrize("key", ["", '""', "x" * (KEY_MAX + 1), "a\tb", "é", "\0"])
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(UsageError, match="Idempotency-Key"):
        named(key)


def test_an_answer_without_a_secret_has_none() -> None:
    assert named().open(Kept(b"", "{}", None, None)) is None


def test_only_whole_secrets_are_sealed() -> None:
    with pytest.raises(ValueError, match="32"):
        named().seal(b"short")
