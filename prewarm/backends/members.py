"""Members of tar archives from outside that are read back and forth, as ``tarfile`` should read them."""

from __future__ import annotations

import tarfile
from typing import Final

_LONGEST_DESCRIPTION: Final = 1024 * 1024
_DESCRIBES_ANOTHER: Final = frozenset(
    {
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)


class CheckedMember(tarfile.TarInfo):
    """A member whose size is not below zero, and whose long name is not a memory full; for archives read back and forth.

    Python before 3.11.14, 3.12.12 and 3.13.6 reads such an archive for ever (CVE-2025-8194); goes with the last of them.
    """

    def _block(self, count: int) -> int:
        if count < 0:
            raise tarfile.ReadError("a member has a size below zero")
        if self.type in _DESCRIBES_ANOTHER and count > _LONGEST_DESCRIPTION:
            raise tarfile.ReadError("a member's description is too long")
        return -(-count // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
