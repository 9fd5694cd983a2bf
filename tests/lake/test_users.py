"""Users of the endpoint: verifiers by the RFCs, a private file, and unknown names that look like known ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import multiprocessing
from pathlib import Path

import pytest

from lake.errors import ConfigError, DefinitionError
from lake.private import write_private
from lake.users import ITERATIONS, Users, Verifier, derived, make_verifier


def _proof(password: str, verifier: Verifier, message: bytes) -> bytes:
    """A client's side of RFC 5802, written out from its text."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), verifier.salt, verifier.iterations)
    key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    signature = hmac.new(hashlib.sha256(key).digest(), message, hashlib.sha256).digest()
    return bytes(a ^ b for a, b in zip(key, signature, strict=True))


def test_the_exchange_of_rfc_7677() -> None:
    """Its section 3: user 'user', password 'pencil'."""
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    verifier = derived("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    assert verifier.accepts(message, proof)
    assert base64.b64encode(verifier.signature(message)) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert not verifier.accepts(message + b" ", proof)
    for wrong in (b"", proof[:-1], proof + b"\0", bytes(32)):
        assert not verifier.accepts(message, wrong)


def test_users_are_added_checked_changed_and_removed(tmp_path: Path) -> None:
    users = Users(tmp_path / "_secrets" / "users.json")
    assert users.names() == []
    made, given = users.add("ada"), users.add("bob", "correct horse battery")
    assert given == "correct horse battery"
    assert len(made) == 32
    assert Users(users.path).names() == ["ada", "bob"]
    assert users.verifier("ada").accepts(b"m", _proof(made, users.verifier("ada"), b"m"))
    assert not users.verifier("ada").accepts(b"m", _proof(given, users.verifier("ada"), b"m"))
    other = users.set_password("ada")
    assert not users.verifier("ada").accepts(b"m", _proof(made, users.verifier("ada"), b"m"))
    assert users.verifier("ada").accepts(b"m", _proof(other, users.verifier("ada"), b"m"))
    users.remove("ada")
    assert not users.verifier("ada").known
    assert users.names() == ["bob"]


def test_no_password_lies_in_the_file_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    users = Users(tmp_path / "_secrets" / "users.json")
    password = users.add("ada", "a password to look for")
    assert users.path.stat().st_mode & 0o777 == 0o600
    assert users.path.parent.stat().st_mode & 0o777 == 0o700
    assert password not in users.path.read_text()
    assert password not in repr(users.verifier("ada"))
    assert sorted(child.name for child in users.path.parent.iterdir()) == ["users.json", "users.json.lock"]
    users.path.chmod(0o640)
    with pytest.raises(ConfigError, match=r"may be read by others \(mode 0640\).*chmod 600"):
        users.names()


def test_an_unknown_name_looks_like_a_known_one_and_accepts_nothing(tmp_path: Path) -> None:
    users = Users(tmp_path / "users.json")
    users.add("ada")
    first, again, other = users.verifier("eve"), users.verifier("eve"), users.verifier("mallory")
    assert (first.salt, first.iterations) == (again.salt, ITERATIONS)
    assert first.salt != other.salt
    # The salt stays over a restart: that it changed would tell an unknown name from a known one.
    assert Users(users.path).verifier("eve").salt == first.salt
    assert len(first.salt) == len(users.verifier("ada").salt)
    # Not even who knows the keys of a mock gets in.
    signature = hmac.digest(first.stored_key, b"m", "sha256")
    assert not first.accepts(b"m", signature)
    assert not first.known


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("short", "has 12 to 200 characters, not 5"),
        ("x" * 201, "not 201"),
        ("pässwörter sind lang", "printable ASCII"),
        ("tab\tis no character of it", "printable ASCII"),
    ],
)
def test_a_password_that_clients_could_differ_in_is_refused(password: str, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        make_verifier(password)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 64, "a\n", "a/b", "ä", "a,b", "a=b"])
def test_a_name_that_can_be_misread_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DefinitionError, match="can't be a user's name"):
        Users(tmp_path / "users.json").add(name)


def test_a_name_is_taken_once_and_an_unknown_one_is_told(tmp_path: Path) -> None:
    users = Users(tmp_path / "users.json")
    users.add("ada")
    with pytest.raises(DefinitionError, match="a user 'ada' already"):
        users.add("ada")
    with pytest.raises(DefinitionError, match=r"no user 'adda'.*Did you mean 'ada'"):
        users.set_password("adda")
    with pytest.raises(DefinitionError, match="no user 'bob'"):
        users.remove("bob")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"secret": "00", "users": {"a": "md5"}}', '{"secret": 1}'])
def test_a_broken_file_lets_nobody_in(tmp_path: Path, text: str) -> None:
    path = tmp_path / "users.json"
    write_private(path, text)
    with pytest.raises(ConfigError, match="is no file of users"):
        Users(path).verifier("ada")


def test_a_verifier_reads_back_as_it_was_written(tmp_path: Path) -> None:
    users = Users(tmp_path / "users.json")
    users.add("ada", "correct horse battery")
    text = json.loads(users.path.read_text())["users"]["ada"]
    assert text.startswith(f"SCRAM-SHA-256${ITERATIONS}:")
    assert str(users.verifier("ada")) == text


def _add_some(path: Path, first: int) -> None:
    for number in range(first, first + 5):
        Users(path).add(f"user{number}")


def test_processes_that_add_users_at_once_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=_add_some, args=(path, first)) for first in (0, 5, 10)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert len(Users(path).names()) == 15
