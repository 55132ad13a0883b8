"""Users: hashes instead of passwords, indexes that are never given twice, and a file that is read again when it changes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from cryptography import x509

import certs
from server.core.roles import Role
from server.runtime.explain import InvalidFile
from server.runtime.users import UserError, Users

PASSWORD = "a long enough password"


@pytest.fixture(autouse=True)
def light_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that are right but cheap; the product's take 64 MB and tens of milliseconds each."""
    monkeypatch.setattr("server.runtime.users.PasswordHasher", lambda: PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


@pytest.fixture
def users(tmp_path: Path) -> Users:
    users = Users(tmp_path)
    users.add("anna", [Role.OPERATOR, Role.OBSERVER], password=PASSWORD)
    return users


def test_a_user_is_proven_by_its_password(users: Users) -> None:
    anna = users.verify("anna", PASSWORD)
    assert anna is not None
    assert (anna.name, anna.index, anna.roles) == ("anna", 1, {"Operator", "Observer"})


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("anna", "wrong"),
        ("anna", ""),
        ("anna", PASSWORD + " "),
        ("otto", PASSWORD),
        ("", ""),
        ("anna", "x" * 5000),
        ("anna", "\ud800"),
    ],
)
def test_anything_else_proves_nothing(users: Users, name: str, password: str) -> None:
    assert users.verify(name, password) is None


def test_an_unknown_name_costs_a_hash_like_a_known_one(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    monkeypatch.setattr(users, "_matches", lambda expected, password: bool(checked.append(expected)))
    users.verify("anna", "x")
    users.verify("nobody", "x")
    assert [expected[:10] for expected in checked] == ["$argon2id$"] * 2


def test_the_file_is_private_and_holds_no_password(users: Users, tmp_path: Path) -> None:
    text = users.path.read_text()
    assert stat.S_IMODE(users.path.stat().st_mode) == 0o600
    assert PASSWORD not in text
    assert "$argon2id$" in text


def test_changes_by_another_process_count_at_once(users: Users, tmp_path: Path) -> None:
    other = Users(tmp_path)
    other.add("otto", [Role.OBSERVER], password=PASSWORD)
    assert users.verify("otto", PASSWORD) is not None
    other.remove("anna")
    assert users.verify("anna", PASSWORD) is None


def test_an_index_is_never_given_to_another(users: Users, tmp_path: Path) -> None:
    otto = users.add("otto", [Role.OBSERVER], password=PASSWORD)
    users.remove("otto")
    anton = Users(tmp_path).add("anton", [Role.OBSERVER], password=PASSWORD)
    assert (otto.index, anton.index) == (2, 3)


def test_a_service_is_known_by_its_certificate(users: Users, tmp_path: Path) -> None:
    certs.create_authority(tmp_path, "Test")
    first = certs.issue(tmp_path, "historian", application_uri="urn:h", hosts=[]).certificate.read_bytes()
    second = certs.issue(tmp_path, "historian", application_uri="urn:h", hosts=[]).certificate.read_bytes()
    users.add("historian", [Role.OBSERVER], certificate=first)
    found = users.by_certificate(x509.load_der_x509_certificate(first))
    assert found is not None
    assert found.name == "historian"
    assert users.by_certificate(x509.load_der_x509_certificate(second)) is None
    assert users.verify("historian", "") is None
    users.change("historian", certificate=second)
    assert users.by_certificate(x509.load_der_x509_certificate(second)) is not None


def test_a_change_keeps_what_it_does_not_name(users: Users) -> None:
    users.change("anna", roles=[Role.ENGINEER])
    anna = users.verify("anna", PASSWORD)
    assert anna is not None
    assert (anna.index, anna.roles) == (1, {"Engineer"})
    users.change("anna", password="another long password")
    assert users.verify("anna", PASSWORD) is None
    assert users.verify("anna", "another long password") is not None


@pytest.mark.parametrize(
    ("name", "roles", "password", "says"),
    [
        ("anna", ["Observer"], PASSWORD, "there is a user anna already"),
        ("o to", ["Observer"], PASSWORD, "'o to' is not a user name"),
        ("otto", ["Observer"], "short", "a password has 10 characters or more"),
        ("otto", ["Observer"], "x" * 2000, "at most 1024 bytes"),
        ("otto", ["King"], PASSWORD, "unknown role King; known: Observer, Operator, "),
        ("otto", ["Anonymous"], PASSWORD, "unknown role Anonymous"),
        ("otto", [], PASSWORD, "a user needs a role"),
    ],
)
def test_a_wrong_user_is_refused_and_nothing_is_written(
    users: Users, name: str, roles: list[str], password: str, says: str
) -> None:
    before = users.path.read_bytes()
    with pytest.raises(UserError) as error:
        users.add(name, roles, password=password)
    assert says in str(error.value)
    assert users.path.read_bytes() == before
    assert [user.name for user in users] == ["anna"]


def test_an_unknown_user_cannot_be_removed(users: Users) -> None:
    with pytest.raises(UserError, match="there is no user otto; known: anna"):
        users.remove("otto")


@pytest.mark.parametrize(
    "text",
    [
        "[[user]]",
        '[[user]]\nname = "x"\nindex = 1\nroles = ["King"]',
        "user = 7",
        "[[user",
        '[[user]]\nname = "x"\nindex = "1"\nroles = ["Observer"]',
        '[[user]]\nname = "x"\nindex = 1\nroles = ["Observer"]\nadmin = true',
    ],
)
def test_a_damaged_file_lets_nobody_in(users: Users, text: str) -> None:
    users.path.write_text(text)
    with pytest.raises(InvalidFile, match=r"^users\.toml: "):
        users.verify("anna", PASSWORD)
    with pytest.raises(InvalidFile):
        users.verify("anna", PASSWORD)


def test_a_file_that_others_may_write_is_not_believed(users: Users) -> None:
    users.add("otto", [Role.OBSERVER], password=PASSWORD)
    os.chmod(users.path, 0o622)
    with pytest.raises(InvalidFile, match="others may write it"):
        Users(users.path.parent)


def test_without_a_file_there_is_nobody(tmp_path: Path) -> None:
    assert list(Users(tmp_path)) == []
    assert Users(tmp_path).verify("anna", PASSWORD) is None
