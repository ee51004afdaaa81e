"""A mail server that does what a test tells it to.

    mail_server.py DIRECTORY [CERTIFICATE_HOST | --without-smtputf8]

It prints its port. What it does with each mail stands in DIRECTORY/mode: `accept`, `later` (451),
`refuse` (550), `quote` (550 that quotes the link, as filters do), `busy` (421), `slow` (taken after a while), `hang` (no answer after the final dot), `drop` (the connection ends
after the final dot). Every mail that it was given, answered or not, becomes DIRECTORY/NUMBER.eml,
with the mode in NUMBER.mode. DIRECTORY/peak has the number of connections that were open at once. With a host's name it wants STARTTLS and shows a certificate for
that host; DIRECTORY/authority.pem has signed it.
"""

import asyncio
from email import policy
from email.parser import BytesParser
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP

directory = pathlib.Path(sys.argv[1])


class Handler:
    taken = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("unknown"):
            return "550 5.1.1 No such mailbox here"
        if address.startswith("relayed"):
            return "454 4.7.1 Relay access denied"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mode = (directory / "mode").read_text().strip()
        Handler.taken += 1
        name = f"{Handler.taken:06}"
        (directory / f"{name}.part").write_bytes(envelope.original_content)
        (directory / f"{name}.mode").write_text(mode)
        (directory / f"{name}.part").rename(directory / f"{name}.eml")
        if mode == "later":
            return "451 4.7.1 Greylisted, come back later"
        if mode == "refuse":
            return "550 5.7.1 Not\twanted here"
        if mode == "quote":
            text = BytesParser(policy=policy.default).parsebytes(envelope.original_content)
            text = text.get_body(("plain",)).get_content()
            link = next(word for word in text.split() if "/invitations/" in word)
            return f"550 5.7.1 blocked: {link.replace('.', '[.]')} {link.rsplit('.')[-1]}"
        if mode == "busy":
            return "421 4.3.2 Going down"
        if mode == "slow":
            await asyncio.sleep(0.05)
        if mode == "hang":
            await asyncio.sleep(3600)
        if mode == "drop":
            server.transport.abort()
        return "250 2.0.0 Taken"


class Session(SMTP):
    """One that counts how many there are at once."""

    open, peak = 0, 0

    def connection_made(self, transport):
        Session.open += 1
        if Session.open > Session.peak:
            Session.peak = Session.open
            (directory / "peak").write_text(str(Session.peak))
        super().connection_made(transport)

    def connection_lost(self, error):
        Session.open -= 1
        super().connection_lost(error)


def context(host):
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "authority.pem"))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(made)
    return made


async def main():
    is_old = sys.argv[2:] == ["--without-smtputf8"]
    tls = context(sys.argv[2]) if len(sys.argv) > 2 and not is_old else None

    def session():
        return Session(Handler(), tls_context=tls, require_starttls=tls is not None, enable_SMTPUTF8=not is_old)

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
