"""What sends to a target of each type, loaded when there is one: an HTTP client takes longer than many a run."""

from __future__ import annotations

from runner.notify.sinks.delivery import MessageSink
from runner.notify.target import NotificationTarget


def sink_for(target: NotificationTarget) -> MessageSink:
    """The sink of a target. Raises SettingsError for one that can never be sent to."""
    match target.type:
        case "apprise":
            from runner.notify.sinks.apprise_sink import AppriseSink

            return AppriseSink(target)
        case "webhook":
            from runner.notify.sinks.webhook import WebhookSink

            return WebhookSink(target)
        case "stream":
            from runner.notify.sinks.stream import StreamSink

            return StreamSink(target)
