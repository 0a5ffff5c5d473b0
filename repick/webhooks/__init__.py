"""Webhooks: what is sent, signed and tried again (`rules`), and who sends it (`delivery`)."""
