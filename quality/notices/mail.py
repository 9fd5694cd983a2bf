"""A notice as plain-text mail by SMTP, with TLS checked; a repeat has the same Message-ID."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from lake.errors import TransportError
from lake.times import utc_now
from quality.notices.channels import MailChannel
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
    context = ssl.create_default_context(cafile=None if channel.ca is None else str(channel.ca))
    try:
        with _connect(channel, context) as server:
            if channel.tls == "starttls":
                # Refused by smtplib where the server doesn't offer it: never in the clear instead.
                server.starttls(context=context)
            if channel.user is not None:
                server.login(channel.user, password)
            refused = server.send_message(message(channel, notice))
    except smtplib.SMTPAuthenticationError as error:
        raise TransportError("The mail server refused user or password.", where=name) from error
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise TransportError(f"The mail can't be sent: {type(error).__name__}: {error}.", where=name) from error
    if refused:
        raise PartlyTaken(f"The mail server refused {', '.join(sorted(refused))}.", where=name)


def _connect(channel: MailChannel, context: ssl.SSLContext) -> smtplib.SMTP:
    if channel.tls == "tls":
        return smtplib.SMTP_SSL(channel.host, channel.port, timeout=channel.timeout_s, context=context)
    return smtplib.SMTP(channel.host, channel.port, timeout=channel.timeout_s)
