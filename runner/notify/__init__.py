"""Alerts told to people and programs: by mail and chat, to webhooks, and as a stream of lines."""
