"""What the headers of an answer say: the status, once they are complete.

libcurl itself reads much as a 200 that is no status line of HTTP/1: "HTTP/2 500", or "HTTP/3" alone.
"""

import re
from typing import Final

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01][ \t]+([1-9][0-9][0-9])(?![0-9])")
_USUAL: Final = b"HTTP/1.1 200 "
_BLANK_LINES: Final = (b"\n\r\n", b"\n\n")
_END_OF_HEADERS: Final = re.compile(rb"\n\r?\n")


def read_status(head: bytes | bytearray) -> int | None:
    """What an answer's status line says: 0 when it is none of HTTP/1; None when the headers have not come to their end.

    Interim answers, which have a status of 1xx, are passed over (RFC 9110, 15.2).
    """
    if head.startswith(_USUAL) and head.endswith(_BLANK_LINES):
        # Nearly always.
        return 200
    begin = 0
    while begin < len(head):
        found = _STATUS_LINE.match(head, begin)
        if found is None:
            return 0
        status = int(found[1])
        if status >= 200 and head.endswith(_BLANK_LINES):
            # Looking for the first blank line takes longer.
            return status
        end = _END_OF_HEADERS.search(head, found.end())
        if end is None:
            return None
        if status >= 200:
            return status
        begin = end.end()
    return None
