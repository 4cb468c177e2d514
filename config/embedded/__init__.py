"""The embedded platform: its servers, its roles and what keeps them running. Plain Python, no Django."""
