"""Account files that somebody hostile wrote, and users that are none."""

import pytest

from prewarm.backends.docker.accounts import Accounts
from prewarm.backends.local.users import find_user, with_user
from prewarm.errors import CaptureFailedError, SessionFailedError

MANY = "".join(f"u{number}:x:{number}:{number}::/:/bin/sh\n" for number in range(1000, 60000))
DIGITS = "9" * 5000


@pytest.mark.parametrize("name", ["4294967295", "99999999999", "²", DIGITS, "1:4294967295", "1:²", "root:0;", "7:x"])
def test_a_number_that_nobody_can_have_is_refused(name):
    with pytest.raises(SessionFailedError):
        find_user(name, b"root:x:0:0:root:/root:/bin/sh\n", b"")


@pytest.mark.parametrize("number", ["²", DIGITS, "-1", "+1", " 1", "1_0", ""])
def test_a_line_without_a_number_is_no_account(number):
    passwd = f"evil:x:{number}:{number}::/:/bin/sh\n"
    with pytest.raises(SessionFailedError, match="no user 'evil'"):
        find_user("evil", passwd.encode(), b"")
    assert Accounts(passwd=passwd).find("evil") is None
    assert with_user("sandbox", passwd.encode(), b"")[2].uid == 1000


@pytest.mark.parametrize("number", ["4294967295", "4294967296"])
def test_an_account_with_a_number_that_means_another_is_refused(number):
    with pytest.raises(SessionFailedError, match="nobody can have"):
        find_user("evil", f"evil:x:{number}:0::/:/bin/sh\n".encode(), b"")
    assert Accounts(passwd=f"evil:x:{number}:0::/:/bin/sh\n").find("evil") is None


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_only_a_line_end_ends_an_account(separator):
    passwd = f"ann:x:1000:1000:Ann{separator}root2:x:0:0::/:/bin/sh:/home/ann:/bin/sh\n"
    with pytest.raises(SessionFailedError):
        find_user("root2", passwd.encode(), b"")
    assert Accounts(passwd=passwd).find("root2") is None


def test_where_no_number_is_left_none_is_made():
    with pytest.raises(SessionFailedError, match="no number left"):
        with_user("sandbox", MANY.encode(), b"")
    with pytest.raises(CaptureFailedError, match="no number left"):
        Accounts(passwd=MANY).with_user("sandbox")
