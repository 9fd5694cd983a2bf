"""A notice as plain-text mail by SMTP, with TLS checked; a repeat has the same Message-ID."""

from __future__ import annotations

import smtplib
import socket
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from lake.errors import TransportError
from lake.times import utc_now
from quality.notices.channels import MailChannel
from quality.notices.deadline import Deadline
from quality.notices.notice import Notice


class PartlyTaken(TransportError):
    """Some recipients were refused, the others have the mail: sending it again would only repeat it to them."""


def message(channel: MailChannel, notice: Notice) -> EmailMessage:
    """The mail: its texts are clean already, and the library refuses what would forge a header."""
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = f"fleetcube {notice.title}"
    mail["From"] = channel.sender
    mail["To"] = ", ".join(channel.to)
    mail["Date"] = format_datetime(utc_now())
    mail["Message-ID"] = f"<{notice.id}@{parseaddr(channel.sender)[1].partition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n".join(notice.lines()) + "\n")
    return mail


def send(name: str, channel: MailChannel, notice: Notice) -> None:
    """Deliver one notice. Errors: TransportError where nobody has it, PartlyTaken where only some have."""
    password = channel.password.read(name) if channel.password is not None else ""
    with Deadline(channel.timeout_s) as deadline:
        try:
            context = ssl.create_default_context(cafile=None if channel.ca is None else str(channel.ca))
            with _Server(channel, context, deadline) as server:
                if channel.tls == "starttls":
                    # Refused by smtplib where the server doesn't offer it: never in the clear instead.
                    server.starttls(context=context)
                if channel.user is not None:
                    server.login(channel.user, password)
                refused = server.send_message(message(channel, notice))
        except smtplib.SMTPAuthenticationError as error:
            raise TransportError("The mail server refused user or password.", where=name) from error
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise TransportError(f"The mail can't be sent: {deadline.why(error)}.", where=name) from error
    if refused:
        raise PartlyTaken(f"The mail server refused {', '.join(sorted(refused))}.", where=name)


class _Server(smtplib.SMTP):
    """The dialogue with a server, over a connection that the deadline ends."""

    def __init__(self, channel: MailChannel, context: ssl.SSLContext, deadline: Deadline) -> None:
        self._context, self._deadline = context if channel.tls == "tls" else None, deadline
        super().__init__(channel.host, channel.port)

    def _get_socket(self, host: str, port: int, _: object) -> socket.socket:
        """Called by the base's `connect`, which leaves to it how to reach the server."""
        sock = self._deadline.connect(host, port)
        return sock if self._context is None else self._context.wrap_socket(sock, server_hostname=host)
