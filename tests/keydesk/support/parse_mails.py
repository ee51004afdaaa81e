"""Prints each mail of a directory as Python's own parser reads it: names of headers, subject, parts."""

import email.policy
import json
import pathlib
import sys

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.eml")):
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    parts = [part for part in mail.walk() if not part.is_multipart()]
    print(json.dumps({
        "headers": mail.keys(),
        "subject": mail["Subject"],
        "to": [address.addr_spec for address in mail["To"].addresses],
        "parts": [part.get_content_type() for part in parts],
        "text": parts[0].get_content(),
        "defects": [repr(defect) for defect in mail.defects],
    }))
