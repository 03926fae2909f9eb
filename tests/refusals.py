"""Errors that a test expects: their type, what their texts say, and that they tell the fix."""

from __future__ import annotations

import pytest


def message(error):
    """The text of an error, which must tell the fix."""
    text = str(error.value)
    assert "\n  fix: " in text, text
    return text


def refuses(call, kind, parts):
    """Check that a call raises an error of this type whose text has these parts."""
    with pytest.raises(kind) as e:
        call()
    text = message(e)
    for part in parts:
        assert part in text, text
